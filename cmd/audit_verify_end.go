package cmd

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/replay"
)

// What a pool's log is compared with goes on meanwhile, and the log may be a little behind where it is in another store
// than the queue: so often it is looked at again, and after such a rest.
const (
	endTries = 20
	endRest  = 100 * time.Millisecond
)

// verifyEnd compares the end of the log with the pool as it stands, and plays what comes meanwhile. A pool that does not
// rest long enough to be compared is not: each event of it was checked.
func verifyEnd(ctx context.Context, svc park.Service, played *replay.Pool, q park.AuditQuery) (err error) {
	for range endTries {
		if err := playOn(ctx, svc, played, &q); err != nil {
			return err
		}
		before := played.Summary().Events
		now, err1 := svc.Pool(ctx, q.PoolID)
		if err1 != nil {
			return err1
		}
		if err := playOn(ctx, svc, played, &q); err != nil {
			return err
		}
		if err = played.EndsAt(now); err == nil {
			return nil
		}
		if played.Summary().Events != before {
			err = nil
		}
		if err := pause(ctx, endRest); err != nil {
			return err
		}
	}
	return err
}

// playOn plays the events after q's cursor and moves that on.
func playOn(ctx context.Context, svc park.Service, played *replay.Pool, q *park.AuditQuery) error {
	return eachEvent(ctx, svc, *q, 0, func(e park.Event) error {
		q.Cursor = e.EventID
		return played.Apply(e)
	})
}
