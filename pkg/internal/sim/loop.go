package sim

import (
	"container/heap"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime/debug"
	"time"
)

// loop is the simulation's only thread: a queue of events in true time, and coroutines of which one at a time runs
// until it waits. Everything that chance decides it draws from one seeded source, in an order that follows from the
// events alone, and so the seed makes the run.
type loop struct {
	rng    *rand.Rand
	now    time.Duration // true time since the beginning
	queue  eventQueue
	placed uint64 // events so far
	cur    *proc
	hash   uint64 // of all that happened
	events int
	broken error // the first promise that was broken
}

func newLoop(seed uint64) *loop {
	return &loop{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), hash: 14695981039346656037}
}

type event struct {
	at   time.Duration
	seq  uint64
	life *life // of whom it is; nil: the world's
	f    func()
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

// after has f happen to a life (nil: to the world) in d of true time.
func (l *loop) after(d time.Duration, of *life, f func()) {
	l.placed++
	heap.Push(&l.queue, event{at: l.now + max(d, 0), seq: l.placed, life: of, f: f})
}

// run lets things happen until true time has come to until, a promise is broken, or done reports true.
func (l *loop) run(until time.Duration, done func() bool) {
	for len(l.queue) > 0 && l.broken == nil && l.queue[0].at <= until {
		e := heap.Pop(&l.queue).(event)
		l.now = e.at
		if e.life != nil && !e.life.takes(e) {
			continue
		}
		if l.events++; l.events > mostEvents {
			l.fail("livelock", "%d events and no end", l.events)
		}
		l.mix(uint64(e.at))
		l.mix(e.seq)
		e.f()
		if e.life != nil {
			e.life.poll()
		}
		if done != nil && done() {
			return
		}
	}
	if done == nil && l.broken == nil {
		l.now = until
	}
}

// mostEvents is many times what the longest history needs.
const mostEvents = 500_000

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

// fail notes a broken promise.
func (l *loop) fail(promise, format string, args ...any) {
	if l.broken == nil {
		l.broken = &Violation{Promise: promise, At: l.now, Detail: fmt.Sprintf(format, args...)}
	}
}

// chance is true once in so many times on average.
func (l *loop) chance(p float64) bool { return p > 0 && l.rng.Float64() < p }

// between draws a duration.
func (l *loop) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(l.rng.Int64N(int64(high-low)))
}

// proc is a coroutine of a life.
type proc struct {
	life     *life
	next     func() (struct{}, bool)
	stop     func()
	yield    func(struct{}) bool
	ready    func() bool // while it waits
	wait     uint64      // which of its waits this is
	over     bool        // the time of its wait is over
	woken    bool        // it is about to go on
	finished bool
}

// killed unwinds a coroutine of a life that has ended.
type killed struct{}

// spawn begins a coroutine, a moment from now.
func (l *loop) spawn(of *life, f func()) {
	p := &proc{life: of, woken: true}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		p.yield = yield
		defer l.leave(p)
		f()
	})
	of.procs = append(of.procs, p)
	l.after(of.jitter(), of, func() { l.resume(p) })
}

func (l *loop) leave(p *proc) {
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
	p.woken = false
	before := l.cur
	l.cur = p
	p.next()
	l.cur = before
	if p.finished {
		p.life.forget(p)
	}
}

// pause gives the thread back until ready reports true or d has passed; a negative d is for ever.
func (l *loop) pause(d time.Duration, ready func() bool) {
	p := l.cur
	if p == nil {
		panic("sim: a wait outside of any coroutine")
	}
	if p.life.ended {
		panic(killed{})
	}
	if ready() && !l.chance(1.0/16) {
		return
	}
	p.wait++
	p.over, p.ready = false, ready
	if d >= 0 {
		wait := p.wait
		p.life.machine.after(d, p.life, func() {
			if p.wait == wait && !p.finished {
				p.over = true
				l.resume(p)
			}
		})
	}
	for {
		if !p.yield(struct{}{}) {
			panic(killed{})
		}
		if p.over || ready() {
			p.wait++
			p.ready = nil
			return
		}
	}
}
