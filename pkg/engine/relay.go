package engine

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	relayBatch = 256
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// giveUp is how long a notification is tried. Messages and events are tried for ever.
	giveUp = 3 * 24 * time.Hour
	// relayTick bounds how late a parcel that was put off is looked for.
	relayTick = time.Second
)

func mailDest(b park.Backend) string  { return "mailbox/" + string(b) }
func auditDest(b park.Backend) string { return "audit/" + string(b) }
func notifyDest(pool string) string   { return "notify/" + pool }

// relay carries the parcels of one queue store to one destination, at least once. It never holds up the
// pools: they only leave parcels.
type relay struct {
	eng     *Engine
	from    park.Backend
	dest    string
	deliver deliverer
	hooks   *webhooks    // instead of deliver, for a notifier
	to      park.Backend // where deliver brings them; "" for a notifier
	owed    *atomic.Pointer[backlog]
	part    portions // of parcels
}

// deliverer hands parcels over and says which are done and which are to be tried later. An error means that
// none is either: they are tried again soon, in the same order.
type deliverer func(ctx context.Context, parcels []store.Parcel) (done []int64, later []store.Postponed, err error)

// startRelays starts one relay for each store and each place outside it that its pools owe something to.
func (e *Engine) startRelays() {
	seen := make(map[[2]string]bool)
	start := func(from park.Backend, dest string, to park.Backend, deliver deliverer) {
		if k := [2]string{string(from), dest}; !seen[k] {
			seen[k] = true
			r := &relay{eng: e, from: from, dest: dest, to: to, deliver: deliver, owed: e.relayed(from, dest)}
			e.work.Go(r.loop)
		}
	}
	for _, id := range e.order {
		p := e.pools[id]
		if !p.localMail {
			start(p.QueueBackend, mailDest(p.MailboxBackend), p.MailboxBackend, e.toMailbox(p.MailboxBackend))
		}
		if !p.localAudit {
			start(p.QueueBackend, auditDest(e.cfg.Audit), e.cfg.Audit, e.toAudit)
		}
		if p.Notifier != nil {
			h := newWebhooks(p)
			e.work.Go((&relay{eng: e, from: p.QueueBackend, dest: notifyDest(p.ID), hooks: h, owed: e.relayed(p.QueueBackend, notifyDest(p.ID))}).loop)
		}
	}
}

func (r *relay) loop() {
	ctx := r.eng.ctx
	var answered chan struct{}
	if r.hooks != nil {
		answered = r.hooks.answered
		defer r.hooks.calls.Wait()
	}
	for ctx.Err() == nil {
		rung, leave := r.eng.hub.join(outboxTopic(r.from))
		var moved int
		var err error
		if n := r.eng.nodes[r.from]; n == nil || n.first() {
			moved, err = r.carry(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.eng.log.Error("parcels not relayed", "dest", r.dest, "error", err)
		}
		if err == nil && moved > 0 {
			leave()
			continue
		}
		if err != nil {
			rung = nil
		}
		r.eng.env.Await(relayTick, rung, ctx.Done(), answered)
		leave()
	}
}

// carry delivers one batch and returns how many parcels it has done with, for now or for good.
func (r *relay) carry(ctx context.Context) (int, error) {
	q := r.eng.stores[r.from]
	if r.part.next == 0 {
		r.part = portionsOf(park.DefaultMaxResult)
	}
	now := r.eng.env.Wall()
	most := min(r.part.next, relayBatch)
	parcels, err := q.Outbox(ctx, r.dest, now, most)
	if err != nil && ctx.Err() == nil {
		r.eng.failed(r.from, AskedOutbox)
	}
	if err == nil {
		r.found(parcels)
	}
	if err != nil || len(parcels) == 0 {
		return 0, err
	}
	r.weighed(parcels)
	if r.hooks != nil {
		s := r.hooks.sort(ctx, parcels, len(parcels) == most, now)
		moved := len(s.done) + len(s.later) + len(s.aside)
		if moved == 0 {
			return 0, nil
		}
		if err := q.Settle(ctx, s.done, append(s.aside, s.later...)); err != nil {
			return 0, err
		}
		r.hooks.settled(s.done, s.later)
		return moved, nil
	}
	done, later, err := r.deliver(ctx, parcels)
	if err == nil {
		r.eng.works(r.to)
	} else if ctx.Err() == nil {
		r.eng.failed(r.to, AskedDelivery)
	}
	if err != nil {
		return 0, err
	}
	return len(parcels), q.Settle(ctx, done, later)
}

// weighed notes what came of a read: what comes now says more of the next one than what came long ago.
func (r *relay) weighed(parcels []store.Parcel) {
	size := 0
	for i := range parcels {
		size += parcels[i].Weight()
	}
	r.part.rows, r.part.bytes = 0, 0
	r.part.read(len(parcels), size)
}

func (e *Engine) toMailbox(b park.Backend) deliverer {
	return func(ctx context.Context, parcels []store.Parcel) ([]int64, []store.Postponed, error) {
		messages := make([]park.Message, 0, len(parcels))
		topics := make([]topic, 0, len(parcels))
		for i := range parcels {
			if m := parcels[i].Message; m != nil {
				messages = append(messages, *m)
				topics = append(topics, mailTopic(m.Tenant, m.Key))
			}
		}
		if err := e.stores[b].Deliver(ctx, messages); err != nil {
			return nil, nil, err
		}
		e.hub.wake(topics...)
		return ids(parcels), nil, nil
	}
}

func (e *Engine) toAudit(ctx context.Context, parcels []store.Parcel) ([]int64, []store.Postponed, error) {
	events := make([]park.Event, 0, len(parcels))
	for i := range parcels {
		if ev := parcels[i].Event; ev != nil {
			events = append(events, *ev)
		}
	}
	if err := e.audit.Append(ctx, events); err != nil {
		return nil, nil, err
	}
	e.hub.wake(auditTopic)
	return ids(parcels), nil, nil
}

// backoff doubles with each attempt, and is drawn so that many do not come back at once.
func (e *Engine) backoff(attempts int) time.Duration {
	d := min(firstRetry<<min(attempts, 20), lastRetry)
	var chance [8]byte
	e.env.Read(chance[:])
	return d/2 + time.Duration(binary.LittleEndian.Uint64(chance[:])%uint64(d/2+1))
}

func ids(parcels []store.Parcel) []int64 {
	all := make([]int64, len(parcels))
	for i := range parcels {
		all[i] = parcels[i].ID
	}
	return all
}
