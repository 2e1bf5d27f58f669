package engine

import (
	"context"
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
