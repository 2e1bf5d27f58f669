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
func (l *loop) recordRecovery() {
	if l.stepErr.Swap(nil) != nil {
		l.eng.log.Info("the store is back", "pool", l.ID)
	}
	l.refusalLogged = false
}

// sane looks for broken invariants: cheaply at each step, thoroughly from time to time.
func (l *loop) checkInvariants() error {
	l.stepsSinceCheck++
	if row := l.lot.Row(); l.stepsSinceCheck > 256 && l.stepsSinceCheck > row.Queued/4 {
		l.stepsSinceCheck = 0
		return l.lot.Check()
	}
	return l.lot.Sane()
}

// halt stops the pool for good: its own numbers contradict each other, and to go on would be to guess.
func (l *loop) halt(err error) error {
	l.eng.log.Error("pool halted", "pool", l.ID, "error", err)
	l.halted = park.Errorf(park.PoolHalted, "pool %s has halted: %v", l.ID, err)
	l.publish()
	return l.halted
}

// told returns what callers are told of a step that did not come about, and whether that is of the store's making.
func (l *loop) callerError(err error) (_ error, fromStore bool) {
	if _, ok := errors.AsType[*park.Error](err); ok && !errors.Is(err, store.ErrInDoubt) {
		return err, false
	}
	return l.notAccepted(err), true
}

// troubled tells once of a step that did not come about, and sees to when it is tried again.
func (l *loop) recordFailure(err error) {
	if errors.Is(err, store.ErrRefused) {
		l.recordRefusal(err)
		return
	}
	if l.stepErr.Load() == nil {
		l.eng.log.Error("step not stored: trying again until the store is back", "pool", l.ID, "error", err)
	}
	l.mustReload, l.refusalDelay = true, 0
}

// away is what callers are told of an error of the store. That it is away says that nothing was accepted, which is not
// said of a step in doubt.
func (l *loop) notAccepted(err error) error {
	if errors.Is(err, store.ErrInDoubt) {
		return errOutcomeUnknown("pool " + l.ID)
	}
	notAccepted := errNotAccepted(l.ID)
	if errors.Is(err, store.ErrRefused) {
		notAccepted.Detail += fmt.Sprintf(": it refuses it for good: %v", refusalCause(err))
	}
	return notAccepted
}

// A refused step is tried again after a rest, which doubles each time within these bounds.
const (
	minRefusalDelay = retryInterval
	maxRefusalDelay = 30 * time.Second
)

// refused notes that a step was refused, and is to be tried again after a rest that doubles each time.
func (l *loop) recordRefusal(err error) {
	if !l.refusalLogged {
		l.eng.log.Error("step refused for good: trying again now and then", "pool", l.ID, "error", err)
	}
	l.refusalLogged = true
	l.refusalDelay = min(max(2*l.refusalDelay, minRefusalDelay), maxRefusalDelay)
}

// cause returns what a store says of a refusal, without what parkd says of it.
func refusalCause(refusal error) error {
	if r, ok := errors.AsType[*store.RefusedError](refusal); ok {
		return r.Err
	}
	return refusal
}
