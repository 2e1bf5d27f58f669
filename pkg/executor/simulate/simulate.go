// Package simulate is an executor that only waits. Load tests and trials of a pool use it.
package simulate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// ReasonRequested is the reason of a run that fails because its payload asks for it.
const ReasonRequested = "simulated_failure"

// Executor does what the payload says: {"durationMs":50,"fail":false,"result":…}; all members are optional. It implements
// [park.Executor].
type Executor struct{}

// New returns an Executor.
func New() Executor { return Executor{} }

const maxDurationMs = 365 * 24 * 3600 * 1000

type instructions struct {
	DurationMs float64         `json:"durationMs"`
	Fail       bool            `json:"fail"`
	Result     json.RawMessage `json:"result"`
}

// Run implements [park.Executor].
func (Executor) Run(ctx context.Context, a park.Assignment) park.Outcome {
	o, err := decode(a.Payload)
	if err != nil {
		return park.Failure(park.ReasonExecutorError, err.Error())
	}
	if err := sleep(ctx, time.Duration(o.DurationMs*float64(time.Millisecond))); err != nil {
		if errors.Is(err, park.ErrTimeout) {
			return park.Failure(park.ReasonTimeout, err.Error())
		}
		return park.Failure(park.ReasonExecutorError, err.Error())
	}
	if o.Fail {
		return park.Failure(ReasonRequested, "the payload says so")
	}
	return park.Outcome{Status: park.Completed, Result: o.Result}
}

func decode(payload json.RawMessage) (instructions, error) {
	var o instructions
	if len(payload) == 0 {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its text names a Go type
			err = fmt.Errorf("%s must not be a JSON %s", cmp.Or(mismatch.Field, "the payload"), mismatch.Value)
		}
		return o, fmt.Errorf(`the payload must be like {"durationMs":50,"fail":false,"result":…}: %w`, err)
	}
	if o.DurationMs < 0 || o.DurationMs > maxDurationMs {
		return o, fmt.Errorf("durationMs must be from 0 to %d, not %g", int64(maxDurationMs), o.DurationMs)
	}
	return o, nil
}

// sleep returns after d, or earlier, with the cause, if ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
