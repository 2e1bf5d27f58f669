package store

import (
	"context"
	"math"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/park"
)

// What backends have in common.

// ParseMessageID returns the number that a message's id is in all backends, or 0 for "".
func ParseMessageID(id string) (int64, error) {
	if id == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 0 {
		return 0, park.Errorf(park.InvalidRequest, "a message's id must be a number, not %q", id)
	}
	return min(n, math.MaxInt64-1), nil // so that the next number does not overflow; no message has either
}

// FirstStep returns the first rev of a pool's log for which a condition holds, or last+1 if it holds for none. If the
// condition holds for a step, it must hold for all later steps. probe examines the first step with a rev of at least
// rev. It returns that step's own rev, or 0 if there is none, and whether the condition holds for it.
func FirstStep(ctx context.Context, last int64, probe func(ctx context.Context, rev int64) (found int64, holds bool, err error)) (int64, error) {
	low, high := int64(1), last+1
	for low < high {
		mid := low + (high-low)/2
		switch found, holds, err := probe(ctx, mid); {
		case err != nil:
			return 0, err
		case holds || found == 0: // if there is no step, it was pruned just now
			high = mid
		default:
			low = found + 1
		}
	}
	return low, nil
}
