package postgres

import (
	"context"
	"math"
	"slices"
	"time"
)

// orderPatience is how long a reader waits for transactions that began before the last row it found; orderRest is how
// long it waits between two looks. Steps take milliseconds.
const (
	orderTimeout       = 250 * time.Millisecond
	orderRetryInterval = time.Millisecond
)

// page reads rows below a seq, in order, with their seqs and what pl_final says.
type readPage[T any] func(ctx context.Context, below int64) (found []T, seqs []int64, final int64, err error)

// inOrder reads a page of rows of which none can come to lie before another any more. Where a transaction is under way
// that is older than one of the rows, it waits for that one to end; and after some time it returns the rows before it.
func readInOrder[T any](ctx context.Context, s *Store, read readPage[T]) (found []T, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		var seqs []int64
		var final int64
		if found, seqs, final, err = read(ctx, math.MaxInt64); err != nil || len(seqs) == 0 {
			return err
		}
		last := seqs[len(seqs)-1]
		for began := time.Now(); last >= final; {
			if err := s.pool.QueryRow(ctx, "SELECT pl_horizon()").Scan(&final); err != nil {
				return err
			}
			if last >= final && time.Since(began) < orderTimeout {
				time.Sleep(orderRetryInterval)
				continue
			}
			// The rows have to be read again, for what was under way may have put others between them.
			found, _, _, err = read(ctx, min(final, last+1))
			return err
		}
		return nil
	})
	return slices.Clip(found), err
}
