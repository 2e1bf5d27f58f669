package sim

import (
	"context"
	"encoding/json"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// leaseTTL is how long a remote worker's lease lives without being kept.
const leaseTTL = 3 * time.Second

// hand is a machine with a remote worker, which does as pkg/executor/lease does.
type hand struct {
	machine
	life *life
}

func (h *history) employ(w *hand) {
	f := h.newLife(&w.machine)
	w.life = f
	h.spawn(f, func() {
		for {
			h.labour(f)
		}
	})
}

// labour takes a task and works on it.
func (h *history) labour(f *life) {
	asked, most := f.machine.boot(), 1+h.rng.IntN(3)
	leases, err := rpc(h, f, h.any(), 2*time.Second, func(ctx context.Context, e *engine.Engine) ([]park.Lease, error) {
		return told(h, question{what: "lease", pool: "edge"}, func() ([]park.Lease, error) {
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
			h.take(f, lease{l}, asked)
			busy--
		})
	}
	f.pause(-1, func() bool { return busy == 0 })
}

// take sees to a lease that was asked for at a time.
func (h *history) take(f *life, l lease, asked time.Duration) {
	until := f.machine.boot() + leaseTTL*5/6
	if f.machine.boot()-asked > leaseTTL/6 {
		// The answer may have been on its way for as long: the lease is sure only once it is kept.
		asked = f.machine.boot()
		if err := h.keep(f, l, leaseTTL/3); err != nil {
			return
		}
		until = asked + leaseTTL*5/6
	}
	if f.machine.short {
		h.giveBack(f, l)
		return
	}
	if f.machine.boot() < until-killGrace {
		h.perform(f, l, until)
	}
}

// giveBack returns a lease whose task cannot be begun. It is not insisted on: a lease that nobody keeps runs out.
func (h *history) giveBack(f *life, l lease) {
	_, _ = rpc(h, f, h.any(), time.Second, func(ctx context.Context, e *engine.Engine) (struct{}, error) {
		h.see(givenBack{l.PoolID, l.TaskID, l.Attempt})
		return told(h, l.question("release"), func() (struct{}, error) {
			return struct{}{}, e.ReleaseLease(ctx, l.LeaseID, park.LeaseRelease{Message: "no process can be started"})
		})
	})
	f.sleep(h.between(50*time.Millisecond, 500*time.Millisecond))
}

// lease is one in the hands of a worker.
type lease struct{ park.Lease }

func (l lease) question(what string) question {
	return question{what: what, pool: l.PoolID, id: l.TaskID, query: l.LeaseID}
}

func (h *history) keep(f *life, l lease, within time.Duration) error {
	_, err := rpc(h, f, h.any(), within, func(ctx context.Context, e *engine.Engine) (park.Kept, error) {
		return told(h, l.question("keep"), func() (park.Kept, error) {
			return e.KeepLease(ctx, l.LeaseID, park.KeepRequest{TTL: park.Duration(leaseTTL)})
		})
	})
	return err
}

// perform runs a leased task, keeps its lease, and reports its end. It has stopped before the lease may have run out.
func (h *history) perform(f *life, l lease, until time.Duration) {
	var w work
	_ = json.Unmarshal(l.Payload, &w)
	s := h.begin(f, park.Assignment{PoolID: l.PoolID, TaskID: l.TaskID, Attempt: l.Attempt, Units: l.Units}, w, 0, true)
	m := f.machine
	stop := false
	// The shim has the deadline in its own hands, so it falls even while the worker is frozen.
	var guard func()
	guard = func() {
		if left := until - killGrace - m.boot(); left > 0 && !s.over {
			m.after(left, nil, guard)
			return
		}
		h.terminate(s, w.Stubborn)
	}
	guard()
	ended := false
	h.spawn(f, func() {
		for !ended && !stop {
			f.pause(leaseTTL/3, func() bool { return ended })
			if ended {
				return
			}
			asked := m.boot()
			switch err := h.keep(f, l, leaseTTL/3); {
			case err == nil:
				until = asked + leaseTTL*5/6
			case refuses(err):
				stop = true
			}
		}
	})
	f.pause(-1, func() bool { return s.over || stop })
	if !s.over {
		h.terminate(s, w.Stubborn)
		f.pause(-1, func() bool { return s.over })
	}
	if s.done && !stop {
		late := !h.calm && h.chance(0.25)
		if ended = late; late {
			f.sleep(h.between(0, 2*leaseTTL)) // whose network was away; the lease may be another's by now
			h.count("late result")
		}
		h.report(f, l, w, func() bool { return late || m.boot() < until })
	}
	ended = true
}

// report tells how a leased task ended.
func (h *history) report(f *life, l lease, w work, kept func() bool) {
	r := park.LeaseResult{Status: park.Completed}
	r.Payload, _ = json.Marshal(result{l.TaskID, l.Attempt, w.Job})
	r.Payload = oddResult(w, r.Payload)
	if l.Attempt <= w.Fails {
		r = park.LeaseResult{Status: park.Failed, Reason: park.ReasonExitNonzero}
	}
	h.see(outcome{w.Job, l.Attempt, park.Outcome{Status: r.Status, Reason: r.Reason, Message: r.Message, Result: r.Payload}, false})
	for tried := 0; tried < 20 && kept(); tried++ {
		_, err := rpc(h, f, h.any(), time.Second, func(ctx context.Context, e *engine.Engine) (park.LeaseResult, error) {
			return told(h, l.question("end"), func() (park.LeaseResult, error) { return r, e.EndLease(ctx, l.LeaseID, r) })
		})
		if err == nil || refuses(err) {
			return
		}
		f.sleep(h.between(10*time.Millisecond, 100*time.Millisecond))
	}
}

// refuses reports whether a daemon has said no for good.
func refuses(err error) bool {
	c := park.CodeOf(err)
	return c != park.Internal && c != "" && c != park.StorageUnavailable && c != park.OutcomeUnknown
}
