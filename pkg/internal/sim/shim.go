package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"syscall"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The times of nodes, in the ratio that the daemon gives them: the grace is as long as a command has to end after TERM,
// and a spare.
const (
	nodeTTL   = 2 * time.Second
	killGrace = 300 * time.Millisecond
	nodeGrace = killGrace + 400*time.Millisecond
	// A node may be configured with up to so much, and then all wait for it.
	longestTTL   = nodeTTL * 3 / 2
	longestGrace = nodeGrace * 3 / 2
)

// fenceOf is for how long a daemon that lives by a TTL may give its shims no sign of life.
func fenceOf(ttl time.Duration) time.Duration { return ttl * 7 / 8 }

// work is what a simulated task does, as its payload.
type work struct {
	Job      int           `json:"job"` // whose submission this is, whatever its id
	Lasts    time.Duration `json:"lasts"`
	Fails    int           `json:"fails,omitempty"`    // the first so many runs fail
	Stubborn bool          `json:"stubborn,omitempty"` // it does not end on TERM
	Odd      oddity        `json:"odd,omitempty"`      // what else is the matter with a run that would succeed
}

// oddity is what a run may come up with instead of an outcome.
type oddity string

const (
	panics   oddity = "panic"
	noJSON   oddity = "no JSON"   // as its result
	noStatus oddity = "no status" // that an outcome may have
	large    oddity = "large"     // a result of more bytes than the pool allows
	huge     oddity = "huge"      // one of megabytes
	poison   oddity = "poison"    // a result that the database refuses for good
	toxic    oddity = "toxic"     // a submission that it refuses for good
	asksRest oddity = "rest"      // a failure that asks for a rest before the next run
)

// result tells which run ended: the outcome of one must not become that of another.
type result struct {
	Task    string `json:"task"`
	Attempt int    `json:"attempt"`
	Job     int    `json:"job"`
}

// shim is a command under its supervisor, and all that holds units there. It lives on when its daemon is stopped, and
// dies soon after it is killed.
type shim struct {
	machine *machine
	life    *life // its daemon
	task    string
	job     int // by its payload
	pool    string
	units   int64
	attempt int
	granted time.Duration // true time
	alive   time.Duration // boot time of the last proof that its node lives, as it was told
	over    bool
	done    bool // by itself
	asked   bool
	leased  bool // a remote worker runs it
	inner   bool // the daemon itself runs it: what stops the one stops the other
	excused bool // whoever gave it its units has taken them back, and told nobody yet
}

func (s *shim) run() run { return run{s.job, s.attempt} }

// begin starts a command.
func (h *history) begin(f *life, a park.Assignment, w work, fence time.Duration, leased bool) *shim {
	s := &shim{
		machine: f.machine, life: f, task: a.TaskID, job: w.Job, pool: a.PoolID, units: a.Units, attempt: a.Attempt,
		alive: f.machine.boot() - proved(a), leased: leased,
	}
	f.machine.shims = append(f.machine.shims, s)
	h.check.began(s)
	f.machine.after(w.Lasts, nil, func() {
		s.done = !s.over
		h.kill(s)
		if s.done {
			h.cancelNext(s)
		}
	})
	if fence > 0 {
		h.guard(s, fence)
	}
	return s
}

// proved is how long ago the node of a run proved to be alive.
func proved(a park.Assignment) time.Duration {
	if a.Proved == nil {
		return 0
	}
	return a.Proved()
}

// guard kills a command whose daemon has given no sign for so long.
func (h *history) guard(s *shim, fence time.Duration) {
	look := min(s.alive+fence-s.machine.boot(), fence/8) // timers sleep with the machine
	s.machine.after(max(look, fence/16), nil, func() {
		switch {
		case s.over:
		case s.machine.boot()-s.alive >= fence:
			h.kill(s)
		default:
			h.guard(s, fence)
		}
	})
}

// kill ends a command at once.
func (h *history) kill(s *shim) {
	if s.over {
		return
	}
	s.over = true
	s.machine.shims = slices.DeleteFunc(s.machine.shims, func(o *shim) bool { return o == s })
	h.check.ended(s)
	if !s.life.ended {
		h.after(0, s.life, func() {}) // its daemon hears of it
	}
}

// terminate asks a command to end, and kills it if it does not.
func (h *history) terminate(s *shim, stubborn bool) {
	if s.over || s.asked {
		return
	}
	s.asked = true
	d := h.between(time.Millisecond, killGrace/4)
	if stubborn {
		d = killGrace + h.between(time.Millisecond, 5*time.Millisecond)
	}
	s.machine.after(d, nil, func() { h.kill(s) })
}

// orphan kills the commands of a daemon that has died, as their shims do.
func (h *history) orphan(f *life) {
	for _, s := range slices.Clone(f.machine.shims) {
		if s.life == f {
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
	life  *life
	fence time.Duration
}

// Run implements [park.Executor].
func (x *executor) Run(ctx context.Context, a park.Assignment) park.Outcome {
	var w work
	if err := json.Unmarshal(a.Payload, &w); err != nil {
		return park.Failure(park.ReasonExecutorError, err.Error())
	}
	o := x.work(ctx, a, w)
	if o.Status != park.Completed {
		x.see(outcome{w.Job, a.Attempt, o, false})
		return o
	}
	return x.strange(a, w, o)
}

// strange returns an outcome as odd work has it, and shows the judge what has to become of it.
func (x *executor) strange(a park.Assignment, w work, o park.Outcome) park.Outcome {
	if w.Odd != "" {
		x.count(string(w.Odd) + " outcome")
	}
	o.Result = oddResult(w, o.Result)
	failure := outcome{w.Job, a.Attempt, park.Failure(park.ReasonExecutorError, ""), true}
	switch w.Odd {
	case panics:
		x.see(failure)
		panic("odd work")
	case noJSON:
		x.see(failure)
		o.Result = []byte(`{"no": JSON}`)
		return o
	case noStatus:
		x.see(failure)
		o.Status = park.Expired
		return o
	case asksRest:
		if a.Attempt == 1 {
			o = park.Failure("busy", "not now")
			o.RetryAfter = 300 * time.Millisecond
		}
	default: // a matter of the result
	}
	x.see(outcome{w.Job, a.Attempt, o, false})
	return o
}

// oddResult returns a result as large as odd work makes it.
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

func (x *executor) work(ctx context.Context, a park.Assignment, w work) park.Outcome {
	x.life.sleep(x.between(100*time.Microsecond, 3*time.Millisecond)) // the shim is on its way
	if x.fence > 0 && proved(a) >= x.fence {
		return park.Failure(park.ReasonNodeLost, "the daemon has given no sign of life")
	}
	if ctx.Err() != nil {
		return park.Failure(park.ReasonExecutorError, "not begun")
	}
	if x.life.machine.short {
		return park.PutOff(park.OwnShortage(syscall.EAGAIN))
	}
	s := x.begin(x.life, a, w, x.fence, false)
	s.inner = x.plan.inner
	for !s.over && ctx.Err() == nil {
		s.alive = max(s.alive, x.life.machine.boot()-proved(a))
		x.life.pause(signs(x.fence), func() bool { return s.over || ctx.Err() != nil })
	}
	if !s.over {
		x.terminate(s, w.Stubborn)
		x.life.pause(-1, func() bool { return s.over })
	}
	switch {
	case s.done && a.Attempt <= w.Fails:
		return park.Failure(park.ReasonExitNonzero, "exit status 1")
	case s.done:
		b, _ := json.Marshal(result{a.TaskID, a.Attempt, w.Job})
		return park.Outcome{Status: park.Completed, Result: b}
	case ctx.Err() == nil: // the fence fell
		return park.Failure(park.ReasonNodeLost, "the daemon gave no sign of life")
	}
	return park.Failure(park.ReasonExecutorError, "stopped")
}

// signs is how often a daemon shows a shim that it lives.
func signs(fence time.Duration) time.Duration {
	if fence == 0 {
		return -1
	}
	return fence / 8
}
