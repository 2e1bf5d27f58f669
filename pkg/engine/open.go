package engine

// How a pool begins.

import (
	"context"
	"errors"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/ledger"
)

// begin loads the pool for the first time. The store of several nodes may be away for now.
func (l *loop) begin(ctx context.Context) error {
	err := l.load(ctx)
	l.patient = l.node != nil || errors.Is(err, errLogUnread)
	if err == nil {
		l.loadedAt = l.lot.Row().LastAt
	}
	if err == nil || !l.patient || ctx.Err() != nil {
		return err
	}
	l.eng.log.Error("pool not loaded yet", "pool", l.ID, "error", err)
	l.trouble.Store(&err)
	l.stale = true
	as := l.nodeName()
	l.take(l.empty(as), ledger.Pool{}, nil, as)
	return nil
}

// adopt starts the loop, and brings the pool under this engine.
func (l *loop) adopt(ctx context.Context) error {
	p, patient := l.pool, l.patient
	m := &operations{}
	m.reply = make(chan reply, 1)
	p.messages <- m
	p.started = true
	p.eng.work.Go(l.run)
	_, err := p.wait(ctx, &m.request)
	if patient && ctx.Err() == nil {
		return nil // it is tried again until it is done
	}
	return err
}

func (e *Engine) newPool(c Pool) (*pool, error) {
	p := &pool{
		Pool: c, eng: e, queue: e.stores[c.QueueBackend], node: e.nodes[c.QueueBackend],
		messages: make(chan message, 2*maxOps), urgent: make(chan message, 1), quit: make(chan struct{}), done: make(chan struct{}),
		localMail: c.MailboxBackend == c.QueueBackend, localAudit: e.cfg.Audit == c.QueueBackend,
	}
	p.ctx, p.cut = context.WithCancel(e.ctx)
	switch {
	case p.queue == nil:
		return nil, fmt.Errorf("no store for pool %s's queue backend %q", c.ID, c.QueueBackend)
	case e.stores[c.MailboxBackend] == nil:
		return nil, fmt.Errorf("no store for pool %s's mailbox backend %q", c.ID, c.MailboxBackend)
	case c.Executor == nil && !c.Runtime.Leased():
		return nil, fmt.Errorf("pool %s needs an executor, or a runtime whose tasks are leased", c.ID)
	}
	if p.node != nil {
		p.node.Add(member{p})
	}
	return p, nil
}

func newLoop(p *pool) *loop {
	return &loop{pool: p, runs: make(map[string]*run), kept: make(map[string]int64)}
}
