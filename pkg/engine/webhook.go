package engine

import (
	"context"
	"sync"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	// callsAtOnce bounds how many notifications of a pool are on their way, and callsPerBox those of one mailbox. Half of
	// all is never given to mailboxes whose last notification failed.
	callsAtOnce = 32
	callsPerBox = 8
	// toldApart bounds of how many mailboxes the log tells at once that their notifications fail.
	toldApart = 10
)

// webhooks carries a pool's notifications. Each mailbox is a receiver by itself: one that hangs, or fails, delays the
// others by nothing, and is asked again ever more rarely, by one notification at a time, until one was taken.
type webhooks struct {
	pool     *pool
	answered chan struct{} // a call has come to its end
	calls    env.Group

	mu      sync.Mutex
	under   map[int64]*call // by parcel, until its end is stored
	busy    int             // calls that have not ended
	failing int             // boxes whose last notification failed
	trying  int             // calls on their way to one of those
	boxes   map[box]*receiver
}

// box names a mailbox.
type box struct{ tenant, key string }

// receiver is a mailbox with calls on their way, or whose last call failed.
type receiver struct {
	busy     int
	failures int // in a row
	until    park.Time
}

// call is one notification on its way.
type call struct {
	box   box
	over  bool
	later *store.Postponed // nil where it is done with
}

func newWebhooks(p *pool) *webhooks {
	return &webhooks{
		pool: p, answered: make(chan struct{}, 1), calls: env.Group{Env: p.eng.env},
		under: make(map[int64]*call), boxes: make(map[box]*receiver),
	}
}

// sorted is what becomes of parcels.
type sorted struct {
	done  []int64
	later []store.Postponed // to be tried again
	aside []store.Postponed // that only stand in the way of what waits behind them
}

// sort begins the calls that can be begun. full says that more parcels may wait behind these, which must be seen: of large
// ones few are looked at together, and all of them may be on their way or have no room.
func (h *webhooks) sort(ctx context.Context, parcels []store.Parcel, full bool, now park.Time) (s sorted) {
	h.mu.Lock()
	defer h.mu.Unlock()
	pass := func(c *store.Parcel) {
		if full {
			s.aside = append(s.aside, store.Postponed{ID: c.ID, Attempts: c.Attempts, Until: park.At(now.Add(relayTick))})
		}
	}
	for i := range parcels {
		c := &parcels[i]
		if c.Message == nil {
			s.done = append(s.done, c.ID)
			continue
		}
		if u := h.under[c.ID]; u != nil {
			switch {
			case !u.over:
				pass(c)
			case u.later != nil:
				s.later = append(s.later, *u.later)
			default:
				s.done = append(s.done, c.ID)
			}
			continue
		}
		at := box{c.Message.Tenant, c.Message.Key}
		b := h.boxes[at]
		switch {
		case b != nil && now.Before(b.until.Time):
			s.later = append(s.later, store.Postponed{ID: c.ID, Attempts: c.Attempts, Until: b.until})
		case h.room(b):
			h.begin(ctx, *c, at)
		default:
			pass(c)
		}
	}
	return s
}

// room reports whether another call may begin, to a receiver that is nil where nothing is known of it.
func (h *webhooks) room(b *receiver) bool {
	switch {
	case h.busy >= callsAtOnce:
		return false
	case b == nil:
		return true
	case b.failures > 0:
		return b.busy == 0 && h.trying < callsAtOnce/2
	}
	return b.busy < callsPerBox
}

func (h *webhooks) begin(ctx context.Context, c store.Parcel, at box) {
	b := h.boxes[at]
	if b == nil {
		b = &receiver{}
		h.boxes[at] = b
	}
	h.under[c.ID] = &call{box: at}
	h.busy++
	b.busy++
	trying := b.failures > 0
	if trying {
		h.trying++
	}
	h.calls.Go(func() {
		err := h.pool.Notifier.Notify(ctx, h.pool.ID, *c.Message)
		if err == nil || ctx.Err() == nil { // what is cut short by the engine's end is begun again by the next
			h.end(&c, b, trying, err)
		}
		select {
		case h.answered <- struct{}{}:
		default: // one that has not been seen yet stands for all
		}
	})
}

// end notes how a call ended.
func (h *webhooks) end(c *store.Parcel, b *receiver, trying bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.under[c.ID]
	u.over = true
	h.busy--
	b.busy--
	if trying {
		h.trying--
	}
	if err == nil {
		h.recovered(u.box, b)
		return
	}
	e := h.pool.eng
	now := e.env.Wall()
	if b.failures == 0 {
		h.fell(u.box, c, err)
	}
	if !now.Before(b.until.Time) { // of several that failed together the first counts
		b.until = park.At(now.Add(e.backoff(b.failures)))
		b.failures++
	}
	if now.Sub(c.Since.Time) > giveUp {
		e.log.Error("notification given up", "pool", h.pool.ID, "task", c.Message.TaskID, "error", err)
		// Nothing may come for this mailbox any more: what does begins anew.
		h.failing--
		b.failures, b.until = 0, park.Time{}
		return
	}
	until := park.At(now.Add(e.backoff(c.Attempts)))
	if until.Before(b.until.Time) {
		until = b.until
	}
	u.later = &store.Postponed{ID: c.ID, Attempts: c.Attempts + 1, Until: until}
}

func (h *webhooks) fell(at box, c *store.Parcel, err error) {
	if h.failing++; h.failing > toldApart {
		return
	}
	h.pool.eng.log.Warn("notifications fail: they are tried again, ever more rarely",
		"pool", h.pool.ID, "tenant", at.tenant, "mailbox", at.key, "task", c.Message.TaskID, "failing_mailboxes", h.failing, "error", err)
}

func (h *webhooks) recovered(at box, b *receiver) {
	if b.failures > 0 {
		h.failing--
		h.pool.eng.log.Info("notifications are taken again", "pool", h.pool.ID, "tenant", at.tenant, "mailbox", at.key, "failing_mailboxes", h.failing)
	}
	b.failures, b.until = 0, park.Time{}
}

// settled forgets the calls whose end is stored, and receivers of which there is nothing to remember.
func (h *webhooks) settled(done []int64, later []store.Postponed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	forget := func(id int64) {
		u := h.under[id]
		if u == nil {
			return
		}
		delete(h.under, id)
		if b := h.boxes[u.box]; b != nil && b.busy == 0 && b.failures == 0 {
			delete(h.boxes, u.box)
		}
	}
	for _, id := range done {
		forget(id)
	}
	for i := range later {
		forget(later[i].ID)
	}
}
