package engine

// What a pool does if its store, or the pool itself, is not as it should be.

import (
	"errors"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// recovered notes that the store does all that it is asked.
func (l *loop) recovered() {
	if l.trouble.Swap(nil) != nil {
		l.eng.log.Info("the store is back", "pool", l.ID)
	}
	l.refusalLogged = false
}

// sane looks for broken invariants: cheaply at each step, thoroughly from time to time.
func (l *loop) sane() error {
	l.steps++
	if row := l.lot.Row(); l.steps > 256 && l.steps > row.Queued/4 {
		l.steps = 0
		return l.lot.Check()
	}
	return l.lot.Sane()
}

// halt stops the pool for good: its own numbers contradict each other, and to go on would be to guess.
func (l *loop) halt(err error) error {
	l.eng.log.Error("pool halted", "pool", l.ID, "error", err)
	l.halted = park.Errorf(park.PoolHalted, "pool %s has halted: %v", l.ID, err)
	l.show()
	return l.halted
}

// told returns what callers are told of a step that did not come about, and whether that is of the store's making.
func (l *loop) told(err error) (_ error, foreign bool) {
	if _, ok := errors.AsType[*park.Error](err); ok && !errors.Is(err, store.ErrInDoubt) {
		return err, false
	}
	return l.away(err), true
}

// troubled tells once of a step that did not come about, and sees to when it is tried again.
func (l *loop) troubled(err error) {
	if errors.Is(err, store.ErrRefused) {
		l.refused(err)
		return
	}
	if l.trouble.Load() == nil {
		l.eng.log.Error("step not stored: trying again until the store is back", "pool", l.ID, "error", err)
	}
	l.stale, l.refusal = true, 0
}

// away is what callers are told of an error of the store. That it is away says that nothing was accepted, which is not
// said of a step in doubt.
func (l *loop) away(err error) error {
	if errors.Is(err, store.ErrInDoubt) {
		return errUnknown("pool " + l.ID)
	}
	away := errAway(l.ID)
	if errors.Is(err, store.ErrRefused) {
		away.Detail += fmt.Sprintf(": it refuses it for good: %v", cause(err))
	}
	return away
}

// A refused step is tried again after a rest, which doubles each time within these bounds.
const (
	firstRefusal = troubleRest
	lastRefusal  = 30 * time.Second
)

// refused notes that a step was refused, and is to be tried again after a rest that doubles each time.
func (l *loop) refused(err error) {
	if !l.refusalLogged {
		l.eng.log.Error("step refused for good: trying again now and then", "pool", l.ID, "error", err)
	}
	l.refusalLogged = true
	l.refusal = min(max(2*l.refusal, firstRefusal), lastRefusal)
}

// cause returns what a store says of a refusal, without what parkd says of it.
func cause(refusal error) error {
	if r, ok := errors.AsType[*store.RefusedError](refusal); ok {
		return r.Err
	}
	return refusal
}
