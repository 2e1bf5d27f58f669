package engine

// What a pool does if its store fails or its own numbers contradict each other.

import (
	"errors"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// recordRecovery notes that the store accepts steps.
func (l *loop) recordRecovery() {
	if l.stepErr.Swap(nil) != nil {
		l.eng.log.Info("the store is available again", "pool", l.ID)
	}
	l.refusalLogged = false
}

// checkInvariants checks the lot: cheaply at each step, fully from time to time.
func (l *loop) checkInvariants() error {
	l.stepsSinceCheck++
	if row := l.lot.Row(); l.stepsSinceCheck > 256 && l.stepsSinceCheck > row.Queued/4 {
		l.stepsSinceCheck = 0
		return l.lot.Check()
	}
	return l.lot.CheckTotals()
}

// halt stops the pool for good: its own numbers contradict each other, and any further step would be a guess.
func (l *loop) halt(err error) error {
	l.eng.log.Error("pool halted", "pool", l.ID, "error", err)
	l.halted = park.Errorf(park.PoolHalted, "pool %s has halted: %v", l.ID, err)
	l.publish()
	return l.halted
}

// callerError returns the answer to the callers of a failed step, and whether the store caused the failure.
func (l *loop) callerError(err error) (_ error, fromStore bool) {
	if _, ok := errors.AsType[*park.Error](err); ok && !errors.Is(err, store.ErrInDoubt) {
		return err, false
	}
	return l.storeError(err), true
}

// recordFailure logs the first failure of a step, and schedules the next attempt.
func (l *loop) recordFailure(err error) {
	if errors.Is(err, store.ErrRefused) {
		l.recordRefusal(err)
		return
	}
	if l.stepErr.Load() == nil {
		l.eng.log.Error("step not stored: trying again until the store is available", "pool", l.ID, "error", err)
	}
	l.mustReload, l.refusalDelay = true, 0
}

// storeError returns the answer to callers for an error of the store: nothing was accepted, or, for a step in doubt,
// that the outcome is unknown.
func (l *loop) storeError(err error) error {
	if errors.Is(err, store.ErrInDoubt) {
		return errOutcomeUnknown("pool " + l.ID)
	}
	notAccepted := errNotAccepted(l.ID)
	if errors.Is(err, store.ErrRefused) {
		notAccepted.Detail += fmt.Sprintf("; the store refuses it permanently: %v", refusalCause(err))
	}
	return notAccepted
}

// A refused step is tried again after a delay, which doubles each time within these bounds.
const (
	minRefusalDelay = retryInterval
	maxRefusalDelay = 30 * time.Second
)

// recordRefusal notes that a step was refused, and doubles the delay before the next attempt.
func (l *loop) recordRefusal(err error) {
	if !l.refusalLogged {
		l.eng.log.Error("step refused permanently: trying again at growing intervals", "pool", l.ID, "error", err)
	}
	l.refusalLogged = true
	l.refusalDelay = min(max(2*l.refusalDelay, minRefusalDelay), maxRefusalDelay)
}

// refusalCause returns the store's reason for a refusal, without parkd's own words.
func refusalCause(refusal error) error {
	if r, ok := errors.AsType[*store.RefusedError](refusal); ok {
		return r.Err
	}
	return refusal
}
