package verify

import (
	"context"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Source is the interface to read a pool's data. [park.Service] implements it.
type Source interface {
	park.EvidenceService
	Audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error)
}

// pageSize is how many items are asked for at once. Two pages are at hand: one is worked on while the next is read.
const pageSize = 10_000

// heavyPage is the same of what has a result or a payload, whose digest the store works out: of the largest ones, too, a page
// is to be had in seconds.
const heavyPage = 1_000

type pageReader[T any] func(ctx context.Context, pool string, q park.KeptQuery) (park.KeptPage[T], error)

// each calls f for every item after q's cursor, and advances the cursor with each page.
func each[T any](ctx context.Context, read pageReader[T], pool string, q *park.KeptQuery, limit int, f func(*T) error) error {
	type answer struct {
		page park.KeptPage[T]
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	pages := make(chan answer)
	done := make(chan struct{})
	next := *q
	next.Limit = limit
	go func() {
		defer close(done)
		defer close(pages)
		for {
			page, err := read(ctx, pool, next)
			select {
			case pages <- answer{page, err}:
			case <-ctx.Done():
				return
			}
			if next.Cursor = page.Next; err != nil || next.Cursor == "" {
				return
			}
		}
	}()
	defer func() {
		cancel()
		<-done
	}()
	for a := range pages {
		if a.err != nil {
			return a.err
		}
		for i := range a.page.Items {
			if err := f(&a.page.Items[i]); err != nil {
				return err
			}
		}
		if a.page.Next != "" {
			q.Cursor = a.page.Next
		}
	}
	return ctx.Err()
}

// updates returns the changes of a pool.
func updates(ctx context.Context, src Source, q park.AuditQuery) (all []park.Event, err error) {
	q.Action, q.Limit = park.ActUpdate, pageSize
	for {
		page, err := src.Audit(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Events...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all, nil
		}
	}
}
