package api

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// feed reads the audit log once for all streams of events. Each event is rendered once, into a list that each stream
// reads at its own pace. A stream that falls behind the list reads the log itself until it has caught up. Only the log
// knows the order of events of several pools and nodes, so no event reaches a stream past the log.
type feed struct {
	api   *API
	limit int // events in the list

	mu      sync.Mutex
	readers int
	stop    context.CancelFunc // stops reading the log; nil while there are no readers
	items   []item             // the newest events
	first   int64              // number of items[0]
	cursor  string             // id of the newest event that was read or, before the first, of the newest in the log; "" if unknown
	size    int                // bytes of items
	changed chan struct{}      // closed when there are more events; nil while no reader waits
}

// item is an event and its rendered form.
type item struct {
	park.Event
	frame []byte
}

const (
	maxItems     = 16 << 10
	maxItemBytes = 16 << 20
	// retryInterval is how long a feed waits before it reads a log again that could not be read.
	retryInterval = time.Second
)

// join begins to follow. It returns the number of the next event, and the id of the event before it if that is known.
func (f *feed) join() (next int64, cursor string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers++
	if f.stop == nil {
		ctx, stop := context.WithCancel(f.api.closing)
		f.stop = stop
		// This comes before join returns, so that the feed has everything that happens after that.
		f.cursor = f.newest(ctx)
		go f.read(ctx, f.cursor, f.watch(ctx, f.cursor))
	}
	return f.first + int64(len(f.items)), f.cursor
}

// newest returns the id of the newest event in the log, or "" if there is none or it is unknown.
func (f *feed) newest(ctx context.Context) string {
	if f.api.cfg.LastEvent == nil {
		return ""
	}
	id, err := f.api.cfg.LastEvent(ctx)
	if err != nil {
		f.api.cfg.Log.Debug("the end of the log is not known", "error", err)
		return ""
	}
	return id
}

// nextNumber returns the number of the next event.
func (f *feed) nextNumber() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first + int64(len(f.items))
}

// writeInterval returns how long a stream pauses after a write.
func (f *feed) writeInterval() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(time.Duration(f.readers)*minFlushInterval, maxFlushInterval)
}

// leave ends what join began.
func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers--; f.readers > 0 {
		return
	}
	f.stop()
	f.stop = nil
	f.first += int64(len(f.items))
	f.items, f.size = nil, 0
}

// watch returns the events after one, or from now on, until ctx ends.
func (f *feed) watch(ctx context.Context, after string) func(func(park.Event, error) bool) {
	return f.api.cfg.Service.Watch(ctx, park.AuditQuery{Changes: true, Cursor: after})
}

// read appends the watched events. If watching breaks off, it continues after the last event. If there was no event
// yet, all streams read from the log what they have missed.
func (f *feed) read(ctx context.Context, after string, watched func(func(park.Event, error) bool)) {
	failed := 0
	for {
		for e, err := range watched {
			if err != nil {
				if failed++; failed == 2 && ctx.Err() == nil { // the first may come from the end of the daemon
					f.api.cfg.Log.Warn("events cannot be read: streams of events wait", "error", err)
				}
				continue
			}
			if failed > 1 {
				f.api.cfg.Log.Info("events can be read again")
			}
			after, failed = e.EventID, 0
			f.add(ctx, &e)
		}
		if !sleep(ctx, retryInterval) {
			f.logEnd()
			return
		}
		watched = f.watch(ctx, after)
		if after == "" {
			f.dropItems(ctx)
		}
	}
}

// logEnd logs once how many streams end with the daemon.
func (f *feed) logEnd() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.api.closing.Err() != nil && f.readers > 0 {
		f.api.cfg.Log.Info("streams of events end with the daemon", "streams", f.readers)
	}
}

// sleep waits. It returns false if ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *feed) add(ctx context.Context, e *park.Event) {
	i := item{Event: *e, frame: f.api.frame(e)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return // another reader of the log may use the list by now
	}
	f.items, f.size, f.cursor = append(f.items, i), f.size+len(i.frame), e.EventID
	for len(f.items) > f.limit || f.size > maxItemBytes {
		f.size -= len(f.items[0].frame)
		f.items, f.first = f.items[1:], f.first+1
	}
	f.wake()
}

// dropItems drops all items, so that every stream reads the log.
func (f *feed) dropItems(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	f.first += int64(len(f.items)) + 1
	f.items, f.size = nil, 0
	f.wake()
}

func (f *feed) wake() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// since calls each for the events from number next on, and returns the number after them. ok is false if the list
// begins later. If there are no such events, more is closed once there are.
func (f *feed) since(next int64, each func(*item)) (behind int64, more <-chan struct{}, ok bool) {
	f.mu.Lock()
	if next < f.first {
		f.mu.Unlock()
		return next, nil, false
	}
	// Items do not change, not even when they are dropped from the list.
	items := f.items[min(next-f.first, int64(len(f.items))):]
	items = slices.Clip(items)
	if len(items) == 0 {
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		more = f.changed
	}
	f.mu.Unlock()
	for i := range items {
		each(&items[i])
	}
	return next + int64(len(items)), more, true
}

// frame returns an event in the form in which it is sent.
func (a *API) frame(e *park.Event) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %s\nevent: %s\ndata: ", e.EventID, e.Action)
	if err := encode(&b, e); err != nil {
		a.cfg.Log.Error("event not encoded", "event", e.EventID, "error", err)
		return nil
	}
	b.WriteByte('\n') // the second newline; encode has written the first
	return b.Bytes()
}

// selects reports whether a query selects an event, as a store would.
func selects(q *park.AuditQuery, e *park.Event) bool {
	return q.Selects(e.Action) &&
		(q.TaskID == "" || q.TaskID == e.TaskID) && (q.PoolID == "" || q.PoolID == e.PoolID) && (q.Tenant == "" || q.Tenant == e.Tenant) &&
		(q.Since.IsZero() || !e.At.Before(q.Since.Time)) && (q.Until.IsZero() || e.At.Before(q.Until.Time))
}
