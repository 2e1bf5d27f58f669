package sim

import (
	"container/heap"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime/debug"
	"time"
)

// loop is the simulation's only thread: a queue of events in true time, and coroutines, of which one runs at a time
// until it waits. All random decisions are drawn from one seeded source, in an order that depends on the events alone,
// so the seed determines the run.
type loop struct {
	rng      *rand.Rand
	now      time.Duration // true time since the beginning
	queue    eventQueue
	sequence uint64 // events so far
	current  *proc
	hash     uint64 // of all that happened
	events   int
	broken   error // the first broken guarantee
}

func newLoop(seed uint64) *loop {
	return &loop{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), hash: 14695981039346656037}
}

type event struct {
	at      time.Duration
	seq     uint64
	process *process // nil: not part of a process
	f       func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(v any)   { *q = append(*q, v.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

// after calls f in a process (nil: outside of any) after d of true time.
func (l *loop) after(d time.Duration, of *process, f func()) {
	l.sequence++
	heap.Push(&l.queue, event{at: l.now + max(d, 0), seq: l.sequence, process: of, f: f})
}

// run handles events until true time reaches until, a guarantee is broken, or done returns true.
func (l *loop) run(until time.Duration, done func() bool) {
	for len(l.queue) > 0 && l.broken == nil && l.queue[0].at <= until {
		e := heap.Pop(&l.queue).(event)
		l.now = e.at
		if e.process != nil && !e.process.accepts(e) {
			continue
		}
		if l.events++; l.events > maxEvents {
			l.fail("livelock", "%d events and no end", l.events)
		}
		l.mix(uint64(e.at))
		l.mix(e.seq)
		e.f()
		if e.process != nil {
			e.process.wakeReady()
		}
		if done != nil && done() {
			return
		}
	}
	if done == nil && l.broken == nil {
		l.now = until
	}
}

// maxEvents is many times what the longest history needs.
const maxEvents = 500_000

// mix adds to the hash of the run.
func (l *loop) mix(v uint64) {
	l.hash = (l.hash ^ v) * 1099511628211
	l.hash ^= l.hash >> 29
}

func (l *loop) mixText(s string) {
	for i := range len(s) {
		l.hash = (l.hash ^ uint64(s[i])) * 1099511628211
	}
}

// fail records a broken guarantee.
func (l *loop) fail(promise, format string, args ...any) {
	if l.broken == nil {
		l.broken = &Violation{Promise: promise, At: l.now, Detail: fmt.Sprintf(format, args...)}
	}
}

// chance returns true with probability p.
func (l *loop) chance(p float64) bool { return p > 0 && l.rng.Float64() < p }

// between draws a duration.
func (l *loop) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(l.rng.Int64N(int64(high-low)))
}

// proc is a coroutine of a process.
type proc struct {
	process   *process
	next      func() (struct{}, bool)
	stop      func()
	yield     func(struct{}) bool
	ready     func() bool // while it waits
	wait      uint64      // number of its current wait
	timedOut  bool        // its wait timed out
	scheduled bool        // it is about to resume
	finished  bool
}

// killed unwinds a coroutine of a process that has ended.
type killed struct{}

// spawn starts a coroutine, a moment from now.
func (l *loop) spawn(of *process, f func()) {
	p := &proc{process: of, scheduled: true}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		p.yield = yield
		defer l.exited(p)
		f()
	})
	of.procs = append(of.procs, p)
	l.after(of.jitter(), of, func() { l.resume(p) })
}

func (l *loop) exited(p *proc) {
	p.finished = true
	switch v := recover().(type) {
	case nil, killed:
	default:
		l.fail("panic", "%v\n%s", v, debug.Stack())
	}
}

func (l *loop) resume(p *proc) {
	if p.finished {
		return
	}
	p.scheduled = false
	before := l.current
	l.current = p
	p.next()
	l.current = before
	if p.finished {
		p.process.removeProc(p)
	}
}

// wait suspends the coroutine until ready returns true or d has passed; a negative d means for ever.
func (l *loop) wait(d time.Duration, ready func() bool) {
	p := l.current
	if p == nil {
		panic("sim: a wait outside of any coroutine")
	}
	if p.process.ended {
		panic(killed{})
	}
	if ready() && !l.chance(1.0/16) {
		return
	}
	p.wait++
	p.timedOut, p.ready = false, ready
	if d >= 0 {
		wait := p.wait
		p.process.machine.after(d, p.process, func() {
			if p.wait == wait && !p.finished {
				p.timedOut = true
				l.resume(p)
			}
		})
	}
	for {
		if !p.yield(struct{}{}) {
			panic(killed{})
		}
		if p.timedOut || ready() {
			p.wait++
			p.ready = nil
			return
		}
	}
}
