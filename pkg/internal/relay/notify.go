package relay

import (
	"context"
	"log/slog"
	"sync"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	// callsAtOnce bounds how many notifications of a pool are on their way, and callsPerMailbox those of one mailbox.
	// Half of all is never given to mailboxes whose last notification failed.
	callsAtOnce     = 32
	callsPerMailbox = 8
	// loggedFailures bounds of how many mailboxes the log says at once that their notifications fail.
	loggedFailures = 10
)

// Notify sends a message of a pool to a notifier. After an error it is called again later, for days.
type Notify func(ctx context.Context, pool string, m park.Message) error

// ToNotifier returns a relay of a pool's messages to its notifier.
func ToNotifier(s Source, pool string, notify Notify) *Relay {
	return &Relay{Source: s, dest: Notifier(pool), calls: newCalls(s.Env, s.Log, pool, notify)}
}

// calls are a pool's notifications. Each mailbox is a separate receiver. One that hangs or fails does not delay the
// others; it is retried less and less often, with one notification at a time, until one succeeds.
type calls struct {
	env      *env.Env
	log      *slog.Logger
	pool     string
	notify   Notify
	answered chan struct{} // a call has ended
	all      env.Group

	mu        sync.Mutex
	entries   map[int64]*call // until their end is stored
	busy      int             // calls that have not ended
	failing   int             // mailboxes whose last notification failed
	trying    int             // calls on their way to one of those
	receivers map[mailbox]*receiver
}

// mailbox names a mailbox.
type mailbox struct{ tenant, key string }

// receiver is a mailbox with calls on their way, or whose last call failed.
type receiver struct {
	busy     int
	failures int // in a row
	until    park.Time
}

// call is one notification on its way.
type call struct {
	mailbox mailbox
	over    bool
	later   *store.DeferredEntry // nil if it is done with
}

func newCalls(e *env.Env, log *slog.Logger, pool string, notify Notify) *calls {
	return &calls{
		env: e, log: log, pool: pool, notify: notify, answered: make(chan struct{}, 1), all: env.Group{Env: e},
		entries: make(map[int64]*call), receivers: make(map[mailbox]*receiver),
	}
}

// sorted groups entries by what is done with them.
type sorted struct {
	done  []int64
	later []store.DeferredEntry // to be tried again
	aside []store.DeferredEntry // that are in the way of those behind them
}

// sort begins the calls that can begin. full says that more entries may wait behind these and must be read: only few
// large entries are read together, and all of them may be on their way or find no room.
func (c *calls) sort(ctx context.Context, entries []store.OutboxEntry, full bool, now park.Time) (s sorted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pass := func(p *store.OutboxEntry) {
		if full {
			s.aside = append(s.aside, store.DeferredEntry{ID: p.ID, Attempts: p.Attempts, Until: park.At(now.Add(tick))})
		}
	}
	for i := range entries {
		p := &entries[i]
		if p.Message == nil {
			s.done = append(s.done, p.ID)
			continue
		}
		if known := c.entries[p.ID]; known != nil {
			switch {
			case !known.over:
				pass(p)
			case known.later != nil:
				s.later = append(s.later, *known.later)
			default:
				s.done = append(s.done, p.ID)
			}
			continue
		}
		to := mailbox{p.Message.Tenant, p.Message.Key}
		r := c.receivers[to]
		switch {
		case r != nil && now.Before(r.until.Time):
			s.later = append(s.later, store.DeferredEntry{ID: p.ID, Attempts: p.Attempts, Until: r.until})
		case c.room(r):
			c.begin(ctx, *p, to)
		default:
			pass(p)
		}
	}
	return s
}

// room reports whether another call may begin, to a receiver that is nil if nothing is known of it.
func (c *calls) room(r *receiver) bool {
	switch {
	case c.busy >= callsAtOnce:
		return false
	case r == nil:
		return true
	case r.failures > 0:
		return r.busy == 0 && c.trying < callsAtOnce/2
	}
	return r.busy < callsPerMailbox
}

func (c *calls) begin(ctx context.Context, p store.OutboxEntry, to mailbox) {
	r := c.receivers[to]
	if r == nil {
		r = &receiver{}
		c.receivers[to] = r
	}
	c.entries[p.ID] = &call{mailbox: to}
	c.busy++
	r.busy++
	trying := r.failures > 0
	if trying {
		c.trying++
	}
	c.all.Go(func() {
		err := c.notify(ctx, c.pool, *p.Message)
		if err == nil || ctx.Err() == nil { // what the engine's end cuts short is begun again by the next engine
			c.end(&p, r, trying, err)
		}
		select {
		case c.answered <- struct{}{}:
		default: // one that has not been seen yet stands for all
		}
	})
}

// end notes how a call ended.
func (c *calls) end(p *store.OutboxEntry, r *receiver, trying bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.entries[p.ID]
	known.over = true
	c.busy--
	r.busy--
	if trying {
		c.trying--
	}
	if err == nil {
		c.recovered(known.mailbox, r)
		return
	}
	now := c.env.Wall()
	if r.failures == 0 {
		c.failed(known.mailbox, p, err)
	}
	if !now.Before(r.until.Time) { // of several that failed together the first counts
		r.until = park.At(now.Add(backoff(c.env, r.failures)))
		r.failures++
	}
	if now.Sub(p.Since.Time) > giveUp {
		c.log.Error("notification given up", "pool", c.pool, "task", p.Message.TaskID, "error", err)
		// There may never be another for this mailbox. If there is, it begins without failures.
		c.failing--
		r.failures, r.until = 0, park.Time{}
		return
	}
	until := park.At(now.Add(backoff(c.env, p.Attempts)))
	if until.Before(r.until.Time) {
		until = r.until
	}
	known.later = &store.DeferredEntry{ID: p.ID, Attempts: p.Attempts + 1, Until: until}
}

func (c *calls) failed(to mailbox, p *store.OutboxEntry, err error) {
	if c.failing++; c.failing > loggedFailures {
		return
	}
	c.log.Warn("notifications fail: they are tried again, less and less often",
		"pool", c.pool, "tenant", to.tenant, "mailbox", to.key, "task", p.Message.TaskID, "failing_mailboxes", c.failing, "error", err)
}

func (c *calls) recovered(to mailbox, r *receiver) {
	if r.failures > 0 {
		c.failing--
		c.log.Info("notifications work again", "pool", c.pool, "tenant", to.tenant, "mailbox", to.key, "failing_mailboxes", c.failing)
	}
	r.failures, r.until = 0, park.Time{}
}

// settled forgets the calls whose end is stored, and receivers without anything to remember.
func (c *calls) settled(done []int64, later []store.DeferredEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	forget := func(id int64) {
		known := c.entries[id]
		if known == nil {
			return
		}
		delete(c.entries, id)
		if r := c.receivers[known.mailbox]; r != nil && r.busy == 0 && r.failures == 0 {
			delete(c.receivers, known.mailbox)
		}
	}
	for _, id := range done {
		forget(id)
	}
	for i := range later {
		forget(later[i].ID)
	}
}
