// Package health remembers whether each store did what it was asked last.
package health

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// What stores are asked for.
const (
	Step     = "step"
	Beat     = "beat"
	Outbox   = "outbox"
	Delivery = "delivery" // of messages and events from another store
	Read     = "read"     // of tasks, messages or events
)

// Stores is the health of all stores of an engine. Its methods may be called by many goroutines. The zero value knows
// no store, and notes nothing.
type Stores struct {
	all    map[park.Backend]*state
	failed func(b park.Backend, asked string)
}

// state keeps reads apart, for a full disk can be read all the same.
type state struct{ down, unread atomic.Bool }

// New returns the health of the given stores, all of which are up. failed is called for each failure.
func New(backends []park.Backend, failed func(b park.Backend, asked string)) *Stores {
	s := &Stores{all: make(map[park.Backend]*state, len(backends)), failed: failed}
	for _, b := range backends {
		s.all[b] = new(state)
	}
	return s
}

// Failed notes that a store has not done what it was asked for.
func (s *Stores) Failed(b park.Backend, asked string) {
	h := s.all[b]
	if h == nil {
		return
	}
	if asked == Read {
		h.unread.Store(true)
	} else {
		h.down.Store(true)
	}
	s.failed(b, asked)
}

// Works notes that a store has done what it was asked for, other than a read.
func (s *Stores) Works(b park.Backend) {
	if h := s.all[b]; h != nil && h.down.Load() {
		h.down.Store(false)
	}
}

// Read notes how a read of a store went, and returns its error. It is no fault of the store if the caller has gone or
// has asked for what there cannot be.
func (s *Stores) Read(ctx context.Context, b park.Backend, err error) error {
	h := s.all[b]
	switch {
	case h == nil:
	case err == nil || errors.Is(err, store.ErrNoEvent):
		if h.unread.Load() {
			h.unread.Store(false)
		}
	case ctx.Err() == nil && park.CodeOf(err) == park.Internal:
		s.Failed(b, Read)
	}
	return err
}

// Up reports whether a store did what it was asked last, reads included. A store that was asked for nothing is up.
func (s *Stores) Up(b park.Backend) bool {
	h := s.all[b]
	return h == nil || !h.down.Load() && !h.unread.Load()
}
