package engine

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	// executorTimeout bounds how long a closing pool waits for executors that were told to stop, unless NodeGrace is
	// longer. Tasks whose executors have not returned by then are requeued when the pool is next loaded.
	executorTimeout = 20 * time.Second
	// outcomeTimeout is how long a closing pool waits for outcomes to be stored after all executors have returned.
	// Tasks whose outcomes are not stored by then are requeued when the pool is next loaded, and run again.
	outcomeTimeout = 3 * time.Second
	// lastStepTimeout is how long the step that is being stored may still take after that.
	lastStepTimeout = time.Second
)

// drain starts no more tasks, lets the runs of this node end until ctx ends, stops the rest and ends the loop. It does
// not wait for other work of the loop, which may be blocked by a slow or unavailable store.
func (p *pool) drain(ctx context.Context) {
	idle := make(chan struct{})
	m := &loopFunc{fn: func(l *loop) {
		l.drained = idle
		l.lot.HoldStarts(true)
		l.runsChanged()
	}}
	m.reply = make(chan reply, 1)
	p.urgent <- m
	if p.eng.env.Await(noTimeout, idle, ctx.Done()) == 1 {
		returned := p.activeRuns.stop(park.ErrShutdown)
		// Commands have their grace period here too: what is left when this process ends is killed.
		switch p.eng.env.Await(max(executorTimeout, p.eng.cfg.NodeGrace), idle, returned) {
		case 1:
			if p.eng.env.Await(outcomeTimeout, idle) < 0 {
				p.eng.log.Error("outcomes not stored: their tasks will run again", "pool", p.ID)
			}
		case -1:
			p.eng.log.Error("tasks did not stop", "pool", p.ID)
		}
	}
	close(p.quit)
	if p.eng.env.Await(lastStepTimeout, p.done) < 0 {
		p.cancel()
		p.eng.env.Await(noTimeout, p.done)
	}
	p.cancel() // runs may still wait for their submissions
}
