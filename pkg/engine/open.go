package engine

// How a pool starts.

import (
	"context"
	"errors"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/ledger"
)

// initialLoad loads the pool for the first time. If nodes share the store, it may be unavailable for now.
func (l *loop) initialLoad(ctx context.Context) error {
	err := l.load(ctx)
	l.retryLoad = l.node != nil || errors.Is(err, errLogUnreadable)
	if err == nil {
		l.loadedAt = l.lot.Row().LastAt
	}
	if err == nil || !l.retryLoad || ctx.Err() != nil {
		return err
	}
	l.eng.log.Error("pool not loaded yet", "pool", l.ID, "error", err)
	l.stepErr.Store(&err)
	l.mustReload = true
	node := l.nodeName()
	l.install(l.newLot(node), ledger.Pool{}, nil, node)
	return nil
}

// start starts the loop and waits until the pool is initialized.
func (l *loop) start(ctx context.Context) error {
	p, retryLoad := l.pool, l.retryLoad
	m := &operations{}
	m.reply = make(chan reply, 1)
	p.messages <- m
	p.loopStarted = true
	p.eng.background.Go(l.run)
	_, err := p.wait(ctx, &m.request)
	if retryLoad && ctx.Err() == nil {
		return nil // the loop tries again until it succeeds
	}
	return err
}

func (e *Engine) newPool(c Pool) (*pool, error) {
	p := &pool{
		Pool: c, eng: e, queue: e.stores[c.QueueBackend], node: e.nodes[c.QueueBackend],
		messages: make(chan message, 2*maxOps), urgent: make(chan message, 1), quit: make(chan struct{}), done: make(chan struct{}),
		localMail: c.MailboxBackend == c.QueueBackend, localAudit: e.cfg.Audit == c.QueueBackend,
	}
	p.ctx, p.cancel = context.WithCancel(e.ctx)
	switch {
	case p.queue == nil:
		return nil, fmt.Errorf("no store for pool %s's queue backend %q", c.ID, c.QueueBackend)
	case e.stores[c.MailboxBackend] == nil:
		return nil, fmt.Errorf("no store for pool %s's mailbox backend %q", c.ID, c.MailboxBackend)
	case c.Executor == nil && !c.Runtime.Leased():
		return nil, fmt.Errorf("pool %s needs an executor, or a runtime with leased tasks", c.ID)
	}
	if p.node != nil {
		p.node.Add(member{p})
	}
	return p, nil
}

func newLoop(p *pool) *loop {
	return &loop{pool: p, runs: make(map[string]*run), renewals: make(map[string]int64)}
}
