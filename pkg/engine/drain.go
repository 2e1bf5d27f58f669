package engine

import (
	"context"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	// stopWait bounds how long a closing pool waits for executors that were told to stop, where NodeGrace gives them no
	// more. What does not return by then is requeued when the pool is loaded again.
	stopWait = 20 * time.Second
	// storeWait is how long a closing pool waits for the outcomes of runs to be stored, once all executors have returned. What is
	// not stored by then is requeued when the pool is loaded again, and done once more.
	storeWait = 3 * time.Second
	// lastStep is how long the step that is being stored may then take.
	lastStep = time.Second
)

// drain stops starting, lets what runs here end until ctx does, stops the rest and ends the loop. It waits for nothing that
// the loop has to do first, for that may be busy with a store that is slow or away.
func (p *pool) drain(ctx context.Context) {
	idle := make(chan struct{})
	m := &look{at: func(l *loop) {
		l.drained = idle
		l.lot.Hold(true)
		l.noteIdle()
	}}
	m.reply = make(chan reply, 1)
	p.urgent <- m
	if p.eng.env.Await(forever, idle, ctx.Done()) == 1 {
		returned := p.work.close(park.ErrShutdown)
		// Commands have their grace here too: what is still there when this process ends is killed.
		switch p.eng.env.Await(max(stopWait, p.eng.cfg.NodeGrace), idle, returned) {
		case 1:
			if p.eng.env.Await(storeWait, idle) < 0 {
				p.eng.log.Error("outcomes not stored: their tasks are done once more", "pool", p.ID)
			}
		case -1:
			p.eng.log.Error("tasks did not stop", "pool", p.ID)
		}
	}
	close(p.quit)
	if p.eng.env.Await(lastStep, p.done) < 0 {
		p.cut()
		p.eng.env.Await(forever, p.done)
	}
	p.cut() // runs may wait for their submissions
}

// work is the set of runs whose executors have not returned, for all goroutines. The zero value is ready to use.
type work struct {
	mu   sync.Mutex
	runs map[*run]struct{}
	why  error         // they are to stop; nil while they may run
	none chan struct{} // closed when there is none left after that
}

// add returns why the run is to stop at once, if it is.
func (w *work) add(r *run) (why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.runs == nil {
		w.runs = make(map[*run]struct{})
	}
	w.runs[r] = struct{}{}
	return w.why
}

func (w *work) remove(r *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, r)
	w.note()
}

// close tells all runs to stop, and why. The channel is closed once all their executors have returned.
func (w *work) close(why error) (none <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.why, w.none = why, make(chan struct{})
	for r := range w.runs {
		r.cancel(why)
	}
	w.note()
	return w.none
}

// closed returns why runs are to stop, nil while they may go on.
func (w *work) closed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}

func (w *work) note() {
	if w.none == nil || len(w.runs) > 0 {
		return
	}
	select {
	case <-w.none:
	default:
		close(w.none)
	}
}
