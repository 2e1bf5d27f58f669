package loadtest

// Reading back: the audit log, the mailboxes, and the time of queries to the log.

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	eventsAPage   = 1000
	messagesAPage = 500
	// lagTimeout is how long a log or a mailbox in another store may lag behind the queue.
	lagTimeout = 10 * time.Second
	window     = 24 * time.Hour // of the timed queries
	queries    = 240
	keepTry    = 100 * time.Millisecond
	// clockSlack is how far two clocks of a machine may drift apart during a run.
	clockSlack = 50 * time.Millisecond
)

// judge reads everything back and reports.
func (m *measurement) judge(ctx context.Context) (*Report, error) {
	t, err := m.collectTerms(ctx)
	if err != nil {
		return nil, err
	}
	j := newJudge(m.ledger, m.findings, t, m.watcher.when)
	j.stream = &streamCheck{w: m.watcher, findings: m.findings}
	if err := m.readLog(ctx, j); err != nil {
		return nil, err
	}
	if err := m.checkFinalState(ctx, j); err != nil {
		return nil, err
	}
	mail, err := m.readMail(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.readTasks(ctx, t); err != nil {
		return nil, err
	}
	asked, wrong, err := m.timeQueries(ctx)
	if err != nil {
		return nil, err
	}
	r := m.report(j, mail, asked)
	r.atMost("audit queries that do not find what happened", float64(wrong), 0)
	return r, nil
}

// collectTerms returns the facts about the run that the judge needs.
func (m *measurement) collectTerms(ctx context.Context) (runFacts, error) {
	limits, err := m.initialLimits(ctx)
	if err != nil {
		return runFacts{}, err
	}
	p := m.target.pool
	shared := m.o.Server != ""
	return runFacts{
		probe: m.watcher.probe, pool: p.PoolID, limits: limits, timeout: time.Duration(p.DefaultTimeoutSecs) * time.Second,
		losses: m.restarts > 0 || m.o.Nodes > 1 || shared, shared: shared, steady: m.clockSteady(),
		idle: p.UsedUnits == 0 && p.QueueDepth == 0 && p.Running == 0,
	}, nil
}

// clockSteady reports whether the machine's clock was not set during the run.
func (m *measurement) clockSteady() bool {
	now := time.Now()
	set := now.Round(0).Sub(m.started.Round(0)) - now.Sub(m.started)
	return set.Abs() < clockSlack
}

// initialLimits returns the pool's limits before the run, from the current ones and the changes since.
func (m *measurement) initialLimits(ctx context.Context) (replay.Limits, error) {
	p, err := m.target.service.Pool(ctx, m.target.pool.PoolID)
	if err != nil {
		return replay.Limits{}, fmt.Errorf("read pool %s: %w", m.target.pool.PoolID, err)
	}
	q := park.AuditQuery{PoolID: p.PoolID, Action: park.ActUpdate, Since: m.since, Limit: eventsAPage}
	page, err := m.target.service.Audit(ctx, q)
	if err != nil {
		return replay.Limits{}, fmt.Errorf("read the changes of pool %s: %w", p.PoolID, err)
	}
	return replay.Initial(replay.Of(p), page.Events), nil
}

// readLog replays the pool's log from the beginning of the run. It waits a little if the log lags.
func (m *measurement) readLog(ctx context.Context, j *judge) error {
	q := park.AuditQuery{PoolID: m.target.pool.PoolID, Since: m.since, Changes: true, Limit: eventsAPage}
	for giveUp := time.Now().Add(lagTimeout); ; {
		page, err := m.target.service.Audit(ctx, q)
		if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		for i := range page.Events {
			j.apply(&page.Events[i])
		}
		if n := len(page.Events); n > 0 {
			q.Cursor = page.Events[n-1].EventID
		}
		if page.Next != "" {
			continue
		}
		if j.missing() == 0 || time.Now().After(giveUp) {
			j.finish()
			return nil
		}
		if !sleep(ctx, keepTry) {
			return ctx.Err()
		}
	}
}

// checkFinalState checks that the pool has the rev and state of the log's end. That is possible only if nobody else
// uses the pool and all tasks have ended.
func (m *measurement) checkFinalState(ctx context.Context, j *judge) error {
	if j.facts.shared || !j.exact() || j.missing() > 0 {
		return nil
	}
	want := j.pool.State()
	for giveUp := time.Now().Add(lagTimeout); ; {
		p, err := m.target.service.Pool(ctx, m.target.pool.PoolID)
		if err != nil {
			return fmt.Errorf("read pool %s: %w", m.target.pool.PoolID, err)
		}
		row, err := m.target.service.Evidence(ctx, m.target.pool.PoolID)
		if err != nil {
			return fmt.Errorf("read what is kept of pool %s: %w", m.target.pool.PoolID, err)
		}
		if row.Rev == want.Rev && p.UsedUnits == want.Used && p.QueueDepth == want.Queued && p.Running == want.Running {
			return nil
		}
		if time.Now().After(giveUp) {
			m.findings.note(lostLog, "the log ends at rev %d with %d units in use, %d tasks parked and %d running, but the pool is at rev %d and has %d, %d and %d",
				want.Rev, want.Used, want.Queued, want.Running, row.Rev, p.UsedUnits, p.QueueDepth, p.Running)
			return nil
		}
		if !sleep(ctx, keepTry) {
			return ctx.Err()
		}
	}
}

// timeQueries times queries of the audit log: by task, by tenant and by pool, within the window. It counts wrong
// answers.
func (m *measurement) timeQueries(ctx context.Context) (asked *latencies, wrong int, err error) {
	asked = newLatencies()
	until := park.At(time.Now().Add(time.Minute))
	q := park.AuditQuery{Since: park.At(until.Add(-window)), Until: until, Limit: eventsAPage}
	for n := range min(queries, len(m.ledger.entries)) {
		i := n * len(m.ledger.entries) / min(queries, len(m.ledger.entries))
		q := m.nthQuery(q, n, i)
		begun := time.Now()
		page, err := m.target.service.Audit(ctx, q)
		if err != nil {
			return nil, 0, fmt.Errorf("ask the audit log: %w", err)
		}
		asked.record(time.Since(begun))
		if !m.isAnswer(q, page.Events, i) {
			wrong++
		}
	}
	return asked, wrong, nil
}

// isAnswer reports whether events can be the answer to a query about task number i: they match it, and none of a task
// is missing.
func (m *measurement) isAnswer(q park.AuditQuery, events []park.Event, i int) bool {
	t := &m.ledger.entries[i]
	if q.TaskID != "" && len(events) != int(t.events) && t.events < maxCount || len(events) == 0 && t.answer == accepted {
		return false
	}
	for k := range events {
		e := &events[k]
		if q.TaskID != "" && e.TaskID != q.TaskID || q.Tenant != "" && e.Tenant != q.Tenant || q.PoolID != "" && e.PoolID != q.PoolID {
			return false
		}
	}
	return true
}

// nthQuery makes q the nth query, about task number i.
func (m *measurement) nthQuery(q park.AuditQuery, n, i int) park.AuditQuery {
	switch n % 4 {
	case 0, 1:
		q.TaskID = m.ledger.run + strconv.Itoa(i)
	case 2:
		q.Tenant = m.ledger.mailboxes[m.ledger.entries[i].mailbox].tenant
	case 3:
		q.PoolID = m.target.pool.PoolID
	}
	return q
}
