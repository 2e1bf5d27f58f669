package postgres

import (
	"context"
	"math"
	"slices"
	"time"
)

// orderTimeout is how long a reader waits for transactions that began before the last row that it found.
// orderRetryInterval is the time between two checks. Steps take milliseconds.
const (
	orderTimeout       = 250 * time.Millisecond
	orderRetryInterval = time.Millisecond
)

// readPage reads rows below a seq, in order. It returns the rows, their seqs and the value of pl_final.
type readPage[T any] func(ctx context.Context, below int64) (found []T, seqs []int64, final int64, err error)

// readInOrder reads a page of rows such that no row can still appear before one of them. If a transaction in progress
// is older than one of the rows, it waits for the transaction's end. After orderTimeout it returns the rows before that
// transaction.
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
			// Read the rows again, because the transactions may have added rows between them.
			found, _, _, err = read(ctx, min(final, last+1))
			return err
		}
		return nil
	})
	return slices.Clip(found), err
}
