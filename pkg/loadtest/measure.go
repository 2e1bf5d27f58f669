package loadtest

// A run: submit, wait until all tasks have ended, read everything back, judge.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// measurement is a run in progress.
type measurement struct {
	o        Options
	load     *workload
	target   *target
	ledger   *ledger
	findings *findings
	watcher  *watcher
	cancels  *canceller
	gen      *generator

	since     park.Time // of the first task, by the daemon's clock
	limits    replay.Limits
	started   time.Time
	submitted time.Duration // how long the submissions took
	drained   time.Duration // until the last end was seen
	generator time.Duration // processor time of this process under load
	daemon    time.Duration // and of the daemon
	daemonWas time.Duration // of its killed processes
	restarts  int
	notes     []string
}

func measure(ctx context.Context, o Options, load *workload, t *target) (*Report, error) {
	m := newMeasurement(ctx, o, load, t)
	if err := m.run(ctx); err != nil {
		return nil, err
	}
	o.report(m.progress(Judging))
	return m.judge(ctx)
}

func newMeasurement(ctx context.Context, o Options, load *workload, t *target) *measurement {
	m := &measurement{o: o, load: load, target: t, ledger: newLedger(t.run), findings: &findings{}, limits: replay.Of(t.pool)}
	m.watcher = newWatcher(t, m.ledger)
	m.cancels = newCanceller(ctx, t, m.ledger, m.findings)
	m.watcher.cancel = m.cancels.begin
	return m
}

// run loads the daemon, and follows its events to the end.
func (m *measurement) run(ctx context.Context) (err error) {
	defer m.cancels.finish()
	watching, stop := context.WithCancel(ctx)
	var followed sync.WaitGroup
	followed.Go(func() { m.watcher.run(watching, park.At(time.Now().Add(-2*time.Second))) })
	defer followed.Wait()
	defer stop()
	if m.since, err = m.target.probe(ctx, m.watcher, m.o.Tenant); err != nil {
		return err
	}
	return m.underLoad(ctx)
}

// underLoad submits everything and waits until everything has ended.
func (m *measurement) underLoad(ctx context.Context) error {
	ownBefore := ownCPU()
	daemonBefore := m.daemonCPU()
	restarted := make(chan error, 1)
	m.gen = &generator{
		line: m.target.newSubmitter, pool: m.target.pool.PoolID, load: m.load, ledger: m.ledger, findings: m.findings,
		latency: newLatencies(), cancel: m.cancels.begin, alive: m.target.alive, halfway: func() { go func() { restarted <- m.restart(ctx) }() },
	}
	stop := m.show(ctx)
	defer stop()
	m.started = time.Now()
	err := m.gen.run(ctx, m.o.Concurrency, m.o.Batch)
	m.submitted = time.Since(m.started)
	if m.gen.half {
		err = errors.Join(err, <-restarted)
	}
	if err != nil {
		return err
	}
	if left, silent := m.gen.leftOut(); silent && left > 0 {
		m.note("gave up submitting: none of the tasks was answered for %s, and %d more were not submitted", patience, left)
	}
	if err := m.drain(ctx); err != nil {
		return err
	}
	m.drained = time.Since(m.started)
	m.cancels.finish()
	m.generator, m.daemon = ownCPU()-ownBefore, m.daemonWas+m.daemonCPU()-daemonBefore
	return nil
}

// restart kills the daemon and starts it again, if requested.
func (m *measurement) restart(ctx context.Context) error {
	if !m.o.Restart {
		return nil
	}
	taken, _ := m.gen.state()
	m.o.Log.Info("kill and restart the daemon", "submitted", taken)
	m.daemonWas += m.daemonCPU()
	m.watcher.broken(errors.New("the daemon was killed"))
	m.restarts++
	return m.target.fleet.restart(ctx)
}

func (m *measurement) daemonCPU() time.Duration {
	if m.target.fleet == nil {
		return 0
	}
	return m.target.fleet.cpu()
}

// The interval of drain, and how long nothing may happen before it gives up.
const (
	look     = 20 * time.Millisecond
	askAfter = time.Second
	quiet    = 30 * time.Second
	// The pool must be idle this often in a row, so that a broken stream may catch up.
	idleLooks = 6
)

// drain waits until every accepted task was seen to end, the pool is idle, or nothing happens any more. The judge finds
// what is missing.
func (m *measurement) drain(ctx context.Context) error {
	patience := quiet + m.ledger.longestWork()
	left, since, idle := m.ledger.open(), time.Now(), 0
	asked := since
	for left > 0 {
		if !sleep(ctx, look) {
			return ctx.Err()
		}
		if n := m.ledger.open(); n != left {
			left, since, idle = n, time.Now(), 0
			continue
		}
		if time.Since(since) > patience {
			m.note("gave up waiting: %d accepted tasks had not ended %s after the last one that did", left, patience)
			return nil
		}
		if time.Since(asked) < askAfter || time.Since(since) < askAfter {
			continue
		}
		asked = time.Now()
		if err := m.target.alive(); err != nil {
			return err
		}
		if idle = m.idle(ctx, idle); idle >= idleLooks {
			m.note("the pool is idle although the ends of %d tasks were not seen on the event stream", left)
			return nil
		}
	}
	return nil
}

// idle counts how often in a row the pool was idle.
func (m *measurement) idle(ctx context.Context, before int) int {
	p, err := m.target.service.Pool(ctx, m.target.pool.PoolID)
	if err != nil || p.QueueDepth > 0 || p.Running > 0 {
		return 0
	}
	return before + 1
}

func (m *measurement) note(format string, args ...any) {
	m.notes = append(m.notes, fmt.Sprintf(format, args...))
}

// show reports the progress several times a second until it is stopped.
func (m *measurement) show(ctx context.Context) (stop func()) {
	if m.o.Progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var shown sync.WaitGroup
	shown.Go(func() {
		for sleep(ctx, 200*time.Millisecond) {
			m.o.Progress(m.progress(""))
		}
	})
	return func() {
		cancel()
		shown.Wait()
	}
}

func (m *measurement) progress(p Phase) Progress {
	s := Progress{Phase: p, Elapsed: time.Since(m.started), Total: m.load.size}
	m.ledger.progress(&s)
	m.watcher.progress(&s)
	if p == "" {
		s.Phase = Submitting
		if _, done := m.gen.state(); done {
			s.Phase = Draining
		}
	}
	return s
}
