package loadtest

import (
	"fmt"
	"os"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Verdict is the verdict on one guarantee.
type Verdict struct {
	Promise string  `json:"promise"`
	Value   float64 `json:"value"`
	Limit   float64 `json:"limit"`
	OK      bool    `json:"ok"`
	AtLeast bool    `json:"atLeast,omitempty"` // the value must not be below the limit; else not above it
}

// Report is the result of a run.
type Report struct {
	Verdicts []Verdict `json:"verdicts"`

	Workload    string    `json:"workload"` // "mixed", or the kind of trace
	Trace       string    `json:"trace,omitempty"`
	Speed       float64   `json:"speed,omitempty"`
	Backend     string    `json:"backend"` // of the pool's queue
	Server      string    `json:"server,omitempty"`
	Pool        string    `json:"pool"`
	MaxUnits    int64     `json:"maxUnits"`
	Concurrency int       `json:"concurrency"`
	Rate        float64   `json:"rate,omitempty"` // tasks a second, of an open loop
	Batch       int       `json:"batch"`
	Seed        uint64    `json:"seed"`
	Restarts    int       `json:"restarts"`
	StartedAt   park.Time `json:"startedAt"`
	SubmitSecs  float64   `json:"submitSecs"`
	DrainSecs   float64   `json:"drainSecs"` // from the first submission until the last end was seen

	Submitted  int            `json:"submitted"`
	Accepted   int            `json:"accepted"`
	Rejected   int            `json:"rejected"`
	Rejections map[string]int `json:"rejections"` // by code
	Unanswered int            `json:"unanswered"`
	Completed  int            `json:"completed"`
	Failed     int            `json:"failed"` // simulated failures, and runs that reached their time limit
	Expired    int            `json:"expired"`
	Dropped    int            `json:"dropped"`
	Cancels    int            `json:"cancels"`  // tasks that were to be cancelled, parked or running
	Requeued   int            `json:"requeued"` // runs that were lost in a restart
	Lost       int            `json:"lost"`     // accepted, and no end

	OverCapacityStarts int     `json:"overCapacityStarts"`
	MaxUnitsInUse      int64   `json:"maxUnitsInUse"`
	MeanUnitsInUse     float64 `json:"meanUnitsInUse"` // from the first start to the last end
	MaxParked          int     `json:"maxParked"`
	OutOfOrderStarts   int     `json:"outOfOrderStarts"`
	LateStarts         int     `json:"lateStarts"` // at or after the deadline
	AuditEvents        int     `json:"auditEvents"`

	SubmitPerSec float64   `json:"submitPerSec"`
	TasksPerSec  float64   `json:"tasksPerSec"` // runs that ended, from the first submission to the last end
	SubmitMs     Quantiles `json:"submitMs"`
	WakeMs       Quantiles `json:"wakeMs"`
	WakeAuditMs  Quantiles `json:"wakeAuditMs"` // the same by the log's own times
	WakesSeen    int       `json:"wakesSeen"`   // of WakeMs, those measured by the generator's clock
	// WakeWithin1sRatio is of the parked tasks that started, or should have.
	WakeWithin1sRatio float64   `json:"wakeWithin1sRatio"`
	MailboxFoundRatio float64   `json:"mailboxFoundRatio"`
	DuplicateMessages int       `json:"duplicateMessages"`
	WrongMessages     int       `json:"wrongMessages"`
	StrayMessages     int       `json:"strayMessages"`
	AuditMs           Quantiles `json:"auditMs"`

	GeneratorCPUSecs  float64 `json:"generatorCpuSecs"`
	DaemonCPUSecs     float64 `json:"daemonCpuSecs,omitempty"` // absent where it cannot be known
	GeneratorCPUShare float64 `json:"generatorCpuShare,omitempty"`

	Offences []string        `json:"offences,omitempty"` // the first rules that the log breaks, and the first of what else was found
	Notes    []string        `json:"notes,omitempty"`
	WakeBins []Bin           `json:"wakeBins"`
	Timeline []replay.Sample `json:"timeline"`
}

// OK reports whether every guarantee was kept.
func (r *Report) OK() bool {
	for _, v := range r.Verdicts {
		if !v.OK {
			return false
		}
	}
	return len(r.Verdicts) > 0
}

// The limits of the guarantees.
const (
	wakeRatio   = 0.95
	mailRatio   = 0.99
	auditMostMs = 2000
)

func (m *measurement) report(j *judge, got mail, asked *latencies) *Report {
	r := &Report{
		Workload: m.load.name, Trace: m.o.Trace, Backend: string(m.target.pool.QueueBackend), Server: m.o.Server,
		Pool: m.target.pool.PoolID, MaxUnits: m.target.pool.MaxUnits, Concurrency: m.o.Concurrency, Rate: m.o.Rate,
		Batch: m.o.Batch, Seed: m.o.Seed, Restarts: m.restarts, StartedAt: park.At(m.started),
		SubmitSecs: m.submitted.Seconds(), DrainSecs: m.drained.Seconds(), Notes: m.notes,
		Offences: append(j.offences, m.findings.all()...),
	}
	if m.o.Trace != "" {
		r.Speed = m.o.Speed
	}
	r.count(m.ledger, j)
	r.times(m, j, asked)
	r.mail(m.ledger, got)
	r.explain(j)
	r.judge(j, m.findings)
	return r
}

func (r *Report) count(l *ledger, j *judge) {
	s := j.pool.Summary()
	r.Submitted, r.Accepted, r.Rejected, r.Rejections = len(l.entries), l.accepted, l.rejected, l.rejections
	r.Unanswered = r.Submitted - r.Accepted - r.Rejected
	r.Completed, r.Failed = j.ends[park.ActComplete], j.ends[park.ActFail]
	r.Expired, r.Dropped = j.ends[park.ActExpire], j.ends[park.ActCancel]
	r.Requeued, r.Lost = j.requeued, j.missing()
	r.OverCapacityStarts, r.MaxUnitsInUse, r.MaxParked = s.StartsOverCapacity, s.MaxUsed, s.MaxQueued
	r.OutOfOrderStarts, _ = j.disorder()
	r.Cancels, r.LateStarts, r.AuditEvents = l.cancels(), j.lateStarts, s.Events
	r.Timeline = j.pool.Timeline()
}

func (r *Report) times(m *measurement, j *judge, asked *latencies) {
	r.SubmitPerSec = rate(r.Submitted, m.submitted)
	r.TasksPerSec = rate(r.Completed+r.Failed, m.drained)
	if span := j.lastEnd.Sub(j.firstStart.Time).Seconds(); span > 0 {
		r.MeanUnitsInUse = j.unitTime / span
	}
	r.SubmitMs, r.AuditMs = m.gen.latency.quantiles(), asked.quantiles()
	r.WakeMs, r.WakeAuditMs, r.WakesSeen = j.wake.quantiles(), j.wakeAudit.quantiles(), j.seenByGenerator
	r.WakeBins = j.wake.binned(0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
	r.WakeWithin1sRatio = ratio(j.wokeInTime, int(r.WakeMs.Count)+j.stranded())
	r.GeneratorCPUSecs, r.DaemonCPUSecs = m.generator.Seconds(), m.daemon.Seconds()
	if r.DaemonCPUSecs > 0 {
		r.GeneratorCPUShare = r.GeneratorCPUSecs / (r.GeneratorCPUSecs + r.DaemonCPUSecs)
	}
}

func (r *Report) mail(l *ledger, got mail) {
	r.MailboxFoundRatio = ratio(got.found, l.accepted)
	r.DuplicateMessages, r.WrongMessages, r.StrayMessages = got.duplicates, got.wrong, got.stray
}

// explain adds notes that help to read the values.
func (r *Report) explain(j *judge) {
	s := j.pool.Summary()
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	if n := len(j.foreign); n > 0 {
		note("the pool also had %d tasks of other clients", n)
	}
	if j.retries == 0 && !j.exact() {
		note("the pool had tasks before the run: wake times were not judged, and the order of starts only among the tasks of the run")
	}
	if j.retries > 0 {
		note("%d runs were retried behind other tasks: the order of starts and the wake times were not judged", j.retries)
	}
	if !j.facts.steady {
		note("the machine's clock was changed: run times were not judged")
	}
	if s.Adopted > 0 {
		note("%d tasks existed before the run: the number of units in use is a lower bound", s.Adopted)
	}
	if r.WakeMs.Count == 0 {
		note("no task had to wait, so there are no wake times")
	}
	if n := int(r.WakeMs.Count) - r.WakesSeen; n > 0 && r.WakeMs.Count > 0 {
		note("%d of %d wake times are from the log, because their steps were not seen in time", n, r.WakeMs.Count)
	}
	if r.Submitted == 0 {
		note("nothing was submitted")
	}
}

func (r *Report) judge(j *judge, f *findings) {
	r.atMost("starts over capacity", float64(r.OverCapacityStarts), 0)
	r.atMost("rules broken in the audit log", float64(j.pool.Summary().Offences), 0)
	if n, known := j.disorder(); known {
		r.atMost("starts out of order (priority, then arrival)", float64(n), 0)
	}
	r.atMost("starts at or after the deadline", float64(r.LateStarts), 0)
	if j.exact() {
		r.atLeast("parked tasks started within 1 s of capacity coming free, share", r.WakeWithin1sRatio, wakeRatio)
	}
	r.atMost("submissions without an answer", float64(r.Unanswered), 0)
	r.atMost("accepted tasks lost", float64(r.Lost), 0)
	r.atMost("tasks that ended twice or after being rejected", float64(j.endedTwice+j.neverAccepted()), 0)
	r.atLeast("outcomes found in their mailboxes, share", r.MailboxFoundRatio, mailRatio)
	r.atMost("outcomes missing, duplicated, wrong or misplaced", float64(max(r.amiss(), f.count[wrongMessage])), 0)
	for k := range kinds {
		if p := k.promise(); p != "" {
			r.atMost(p, float64(f.count[k]), 0)
		}
	}
	r.atMost("slowest audit query over 24 h, ms", r.AuditMs.Max, auditMostMs)
}

func (r *Report) atMost(promise string, value, limit float64) {
	r.Verdicts = append(r.Verdicts, Verdict{Promise: promise, Value: value, Limit: limit, OK: value <= limit})
}

func (r *Report) atLeast(promise string, value, limit float64) {
	r.Verdicts = append(r.Verdicts, Verdict{Promise: promise, Value: value, Limit: limit, OK: value >= limit, AtLeast: true})
}

// amiss counts the faults in the mailboxes.
func (r *Report) amiss() int {
	missing := int(float64(r.Accepted)*(1-r.MailboxFoundRatio) + 0.5)
	return missing + r.DuplicateMessages + r.WrongMessages + r.StrayMessages
}

// rate returns n per second.
func rate(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// ratio returns the share of part in whole; all of nothing is 1.
func ratio(part, whole int) float64 {
	if whole == 0 {
		return 1
	}
	return float64(part) / float64(whole)
}

func (r *Report) writeFile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	err = r.HTML(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write the report to %s: %w", path, err)
	}
	return nil
}
