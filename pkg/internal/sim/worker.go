package sim

import (
	"context"
	"encoding/json"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// leaseTTL is the lease time of remote workers.
const leaseTTL = 3 * time.Second

// worker is a machine with a remote worker, which behaves as pkg/executor/lease does.
type worker struct {
	machine
	process *process
}

func (h *history) startWorker(w *worker) {
	f := h.newProcess(&w.machine)
	w.process = f
	h.spawn(f, func() {
		for {
			h.leaseTasks(f)
		}
	})
}

// leaseTasks leases tasks and runs them.
func (h *history) leaseTasks(f *process) {
	asked, most := f.machine.boot(), 1+h.rng.IntN(3)
	leases, err := rpc(h, f, h.randomNode(), 2*time.Second, func(ctx context.Context, e *engine.Engine) ([]park.Lease, error) {
		return recordAnswer(h, request{op: "lease", pool: "edge"}, func() ([]park.Lease, error) {
			return e.Lease(ctx, "edge", park.LeaseRequest{Worker: f.machine.name, Max: most, TTL: park.Duration(leaseTTL), Wait: park.Duration(time.Second)})
		})
	})
	if err != nil || len(leases) == 0 {
		f.sleep(h.between(5*time.Millisecond, 100*time.Millisecond))
		return
	}
	busy := len(leases)
	for _, l := range leases {
		h.spawn(f, func() {
			h.runLease(f, lease{l}, asked)
			busy--
		})
	}
	f.wait(-1, func() bool { return busy == 0 })
}

// runLease handles a lease that was requested at the given time.
func (h *history) runLease(f *process, l lease, asked time.Duration) {
	until := f.machine.boot() + leaseTTL*5/6
	if f.machine.boot()-asked > leaseTTL/6 {
		// The answer may have taken as long: the lease is certain only after a renewal.
		asked = f.machine.boot()
		if err := h.renewLease(f, l, leaseTTL/3); err != nil {
			return
		}
		until = asked + leaseTTL*5/6
	}
	if f.machine.starved {
		h.releaseLease(f, l)
		return
	}
	if f.machine.boot() < until-killGrace {
		h.runLeased(f, l, until)
	}
}

// releaseLease releases the lease of a task that cannot start. It is not retried: without renewals the lease expires.
func (h *history) releaseLease(f *process, l lease) {
	_, _ = rpc(h, f, h.randomNode(), time.Second, func(ctx context.Context, e *engine.Engine) (struct{}, error) {
		h.record(leaseReleased{l.PoolID, l.TaskID, l.Attempt})
		return recordAnswer(h, l.question("release"), func() (struct{}, error) {
			return struct{}{}, e.ReleaseLease(ctx, l.LeaseID, park.LeaseRelease{Message: "no process can be started"})
		})
	})
	f.sleep(h.between(50*time.Millisecond, 500*time.Millisecond))
}

// lease is a worker's lease.
type lease struct{ park.Lease }

func (l lease) question(what string) request {
	return request{op: what, pool: l.PoolID, id: l.TaskID, query: l.LeaseID}
}

func (h *history) renewLease(f *process, l lease, within time.Duration) error {
	_, err := rpc(h, f, h.randomNode(), within, func(ctx context.Context, e *engine.Engine) (park.Kept, error) {
		return recordAnswer(h, l.question("keep"), func() (park.Kept, error) {
			return e.KeepLease(ctx, l.LeaseID, park.KeepRequest{TTL: park.Duration(leaseTTL)})
		})
	})
	return err
}

// runLeased runs a leased task, renews its lease, and reports its outcome. The command has stopped before the lease may
// expire.
func (h *history) runLeased(f *process, l lease, until time.Duration) {
	var w work
	_ = json.Unmarshal(l.Payload, &w)
	s := h.begin(f, park.Assignment{PoolID: l.PoolID, TaskID: l.TaskID, Attempt: l.Attempt, Units: l.Units}, w, 0, true)
	m := f.machine
	stop := false
	// The shim enforces the end itself, so it happens even while the worker is frozen.
	var guard func()
	guard = func() {
		if left := until - killGrace - m.boot(); left > 0 && !s.ended {
			m.after(left, nil, guard)
			return
		}
		h.terminate(s, w.Stubborn)
	}
	guard()
	ended := false
	h.spawn(f, func() {
		for !ended && !stop {
			f.wait(leaseTTL/3, func() bool { return ended })
			if ended {
				return
			}
			asked := m.boot()
			switch err := h.renewLease(f, l, leaseTTL/3); {
			case err == nil:
				until = asked + leaseTTL*5/6
			case refuses(err):
				stop = true
			}
		}
	})
	f.wait(-1, func() bool { return s.ended || stop })
	if !s.ended {
		h.terminate(s, w.Stubborn)
		f.wait(-1, func() bool { return s.ended })
	}
	if s.endedItself && !stop {
		late := !h.faultsOver && h.chance(0.25)
		if ended = late; late {
			f.sleep(h.between(0, 2*leaseTTL)) // as after a network failure; another worker may have the task by now
			h.count("late result")
		}
		h.report(f, l, w, func() bool { return late || m.boot() < until })
	}
	ended = true
}

// report reports the outcome of a leased task.
func (h *history) report(f *process, l lease, w work, kept func() bool) {
	r := park.LeaseResult{Status: park.Completed}
	r.Payload, _ = json.Marshal(result{l.TaskID, l.Attempt, w.Job})
	r.Payload = oddResult(w, r.Payload)
	if l.Attempt <= w.Fails {
		r = park.LeaseResult{Status: park.Failed, Reason: park.ReasonExitNonzero}
	}
	h.record(outcome{w.Job, l.Attempt, park.Outcome{Status: r.Status, Reason: r.Reason, Message: r.Message, Result: r.Payload}, false})
	for tried := 0; tried < 20 && kept(); tried++ {
		_, err := rpc(h, f, h.randomNode(), time.Second, func(ctx context.Context, e *engine.Engine) (park.LeaseResult, error) {
			return recordAnswer(h, l.question("end"), func() (park.LeaseResult, error) { return r, e.EndLease(ctx, l.LeaseID, r) })
		})
		if err == nil || refuses(err) {
			return
		}
		f.sleep(h.between(10*time.Millisecond, 100*time.Millisecond))
	}
}

// refuses reports whether an error is a final answer of a daemon.
func refuses(err error) bool {
	c := park.CodeOf(err)
	return c != park.Internal && c != "" && c != park.StorageUnavailable && c != park.OutcomeUnknown
}
