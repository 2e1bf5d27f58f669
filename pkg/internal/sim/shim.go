package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"syscall"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/shortage"
	"github.com/parkd-dev/parkd/pkg/park"
)

// The times of nodes, in the ratio that the daemon gives them: the grace is the kill grace and a margin.
const (
	nodeTTL   = 2 * time.Second
	killGrace = 300 * time.Millisecond
	nodeGrace = killGrace + 400*time.Millisecond
	// Nodes may be configured with up to these; then all nodes use them.
	longestTTL   = nodeTTL * 3 / 2
	longestGrace = nodeGrace * 3 / 2
)

// fenceOf is how long a daemon with this TTL may send its shims no alive message.
func fenceOf(ttl time.Duration) time.Duration { return ttl * 7 / 8 }

// work is what a simulated task does; it is its payload.
type work struct {
	Job      int           `json:"job"` // number of the job, whatever its id
	Lasts    time.Duration `json:"lasts"`
	Fails    int           `json:"fails,omitempty"`    // how many of the first runs fail
	Stubborn bool          `json:"stubborn,omitempty"` // it does not end on TERM
	Odd      oddity        `json:"odd,omitempty"`      // how a run that would succeed misbehaves
}

// oddity is an unusual outcome of a run.
type oddity string

const (
	panics      oddity = "panic"
	noJSON      oddity = "no JSON"   // as the result
	noStatus    oddity = "no status" // an invalid status
	large       oddity = "large"     // a result larger than the pool allows
	huge        oddity = "huge"      // a result of megabytes
	poison      oddity = "poison"    // a result that the database always refuses
	toxic       oddity = "toxic"     // a submission that the database always refuses
	asksBackoff oddity = "rest"      // a failure that asks for a wait before the next run
)

// result identifies the run, so that outcomes cannot be mixed up.
type result struct {
	Task    string `json:"task"`
	Attempt int    `json:"attempt"`
	Job     int    `json:"job"`
}

// shim is a command under its supervisor, with all processes that use its units. It goes on while its daemon is frozen,
// and dies soon after the daemon is killed.
type shim struct {
	machine       *machine
	daemon        *process // its daemon
	task          string
	job           int // by its payload
	pool          string
	units         int64
	attempt       int
	granted       time.Duration // true time
	alive         time.Duration // boot time at which its node was last known to be alive, as the shim was told
	ended         bool
	endedItself   bool // without being stopped
	stopRequested bool
	leased        bool // a remote worker runs it
	inProcess     bool // without a shim: it stops with the daemon
	excused       bool // its units were taken back, and it has not been told yet
}

func (s *shim) run() run { return run{s.job, s.attempt} }

// begin starts a command.
func (h *history) begin(f *process, a park.Assignment, w work, fence time.Duration, leased bool) *shim {
	s := &shim{
		machine: f.machine, daemon: f, task: a.TaskID, job: w.Job, pool: a.PoolID, units: a.Units, attempt: a.Attempt,
		alive: f.machine.boot() - sinceAlive(a), leased: leased,
	}
	f.machine.shims = append(f.machine.shims, s)
	h.check.began(s)
	f.machine.after(w.Lasts, nil, func() {
		s.endedItself = !s.ended
		h.kill(s)
		if s.endedItself {
			h.cancelNext(s)
		}
	})
	if fence > 0 {
		h.watchFence(s, fence)
	}
	return s
}

// sinceAlive is how long ago the node of a run was last known to be alive.
func sinceAlive(a park.Assignment) time.Duration {
	if a.Proved == nil {
		return 0
	}
	return a.Proved()
}

// watchFence kills a command whose daemon has sent no alive message for the length of the fence.
func (h *history) watchFence(s *shim, fence time.Duration) {
	look := min(s.alive+fence-s.machine.boot(), fence/8) // timers stand still while the machine is suspended
	s.machine.after(max(look, fence/16), nil, func() {
		switch {
		case s.ended:
		case s.machine.boot()-s.alive >= fence:
			h.kill(s)
		default:
			h.watchFence(s, fence)
		}
	})
}

// kill ends a command at once.
func (h *history) kill(s *shim) {
	if s.ended {
		return
	}
	s.ended = true
	s.machine.shims = slices.DeleteFunc(s.machine.shims, func(o *shim) bool { return o == s })
	h.check.ended(s)
	if !s.daemon.ended {
		h.after(0, s.daemon, func() {}) // wakes its daemon
	}
}

// terminate asks a command to end, and kills it if it does not.
func (h *history) terminate(s *shim, stubborn bool) {
	if s.ended || s.stopRequested {
		return
	}
	s.stopRequested = true
	d := h.between(time.Millisecond, killGrace/4)
	if stubborn {
		d = killGrace + h.between(time.Millisecond, 5*time.Millisecond)
	}
	s.machine.after(d, nil, func() { h.kill(s) })
}

// killOrphans kills the commands of a dead daemon, as their shims do.
func (h *history) killOrphans(f *process) {
	for _, s := range slices.Clone(f.machine.shims) {
		if s.daemon == f {
			d := h.between(time.Millisecond, 20*time.Millisecond)
			if h.chance(0.2) {
				d = h.between(0, time.Second) // a busy machine
			}
			s.machine.after(d, nil, func() { h.kill(s) })
		}
	}
}

// executor runs commands on a node.
type executor struct {
	*history
	process *process
	fence   time.Duration
}

// Run implements [park.Executor].
func (x *executor) Run(ctx context.Context, a park.Assignment) park.Outcome {
	var w work
	if err := json.Unmarshal(a.Payload, &w); err != nil {
		return park.Failure(park.ReasonExecutorError, err.Error())
	}
	o := x.execute(ctx, a, w)
	if o.Status != park.Completed {
		x.record(outcome{w.Job, a.Attempt, o, false})
		return o
	}
	return x.applyOddity(a, w, o)
}

// applyOddity returns the outcome of odd work, and tells the judge the outcome to expect.
func (x *executor) applyOddity(a park.Assignment, w work, o park.Outcome) park.Outcome {
	if w.Odd != "" {
		x.count(string(w.Odd) + " outcome")
	}
	o.Result = oddResult(w, o.Result)
	failure := outcome{w.Job, a.Attempt, park.Failure(park.ReasonExecutorError, ""), true}
	switch w.Odd {
	case panics:
		x.record(failure)
		panic("odd work")
	case noJSON:
		x.record(failure)
		o.Result = []byte(`{"no": JSON}`)
		return o
	case noStatus:
		x.record(failure)
		o.Status = park.Expired
		return o
	case asksBackoff:
		if a.Attempt == 1 {
			o = park.Failure("busy", "not now")
			o.RetryAfter = 300 * time.Millisecond
		}
	default: // see oddResult
	}
	x.record(outcome{w.Job, a.Attempt, o, false})
	return o
}

// oddResult returns the result of odd work.
func oddResult(w work, r []byte) []byte {
	pad := 0
	switch w.Odd {
	case large:
		pad = 400
	case huge:
		pad = 3 << 20
	case poison:
		return slices.Concat(r[:len(r)-1], []byte(`,"poison":true}`))
	default:
		return r
	}
	return slices.Concat(r[:len(r)-1], []byte(`,"pad":"`), bytes.Repeat([]byte("x"), pad), []byte(`"}`))
}

func (x *executor) execute(ctx context.Context, a park.Assignment, w work) park.Outcome {
	x.process.sleep(x.between(100*time.Microsecond, 3*time.Millisecond)) // until the shim runs
	if x.fence > 0 && sinceAlive(a) >= x.fence {
		return park.Failure(park.ReasonNodeLost, "the daemon has given no sign of life")
	}
	if ctx.Err() != nil {
		return park.Failure(park.ReasonExecutorError, "not begun")
	}
	if x.process.machine.starved {
		return park.PutOff(shortage.Own(syscall.EAGAIN))
	}
	s := x.begin(x.process, a, w, x.fence, false)
	s.inProcess = x.plan.inProcess
	for !s.ended && ctx.Err() == nil {
		s.alive = max(s.alive, x.process.machine.boot()-sinceAlive(a))
		x.process.wait(aliveInterval(x.fence), func() bool { return s.ended || ctx.Err() != nil })
	}
	if !s.ended {
		x.terminate(s, w.Stubborn)
		x.process.wait(-1, func() bool { return s.ended })
	}
	switch {
	case s.endedItself && a.Attempt <= w.Fails:
		return park.Failure(park.ReasonExitNonzero, "exit status 1")
	case s.endedItself:
		b, _ := json.Marshal(result{a.TaskID, a.Attempt, w.Job})
		return park.Outcome{Status: park.Completed, Result: b}
	case ctx.Err() == nil: // stopped by the fence
		return park.Failure(park.ReasonNodeLost, "the daemon gave no sign of life")
	}
	return park.Failure(park.ReasonExecutorError, "stopped")
}

// aliveInterval is the time between two alive messages to a shim.
func aliveInterval(fence time.Duration) time.Duration {
	if fence == 0 {
		return -1
	}
	return fence / 8
}
