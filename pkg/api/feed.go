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

// feed reads the audit log once for all streams of events. Each event is rendered once, into a list that every stream
// reads at its own pace; one that falls behind the list reads the log itself until it has caught up. The log alone knows
// the order of events of several pools and nodes, so nothing is handed over past it.
type feed struct {
	api  *API
	most int // events in the list

	mu      sync.Mutex
	readers int
	stop    context.CancelFunc // ends the reading of the log; nil while nobody follows
	items   []item             // the newest events
	first   int64              // number of items[0]
	cursor  string             // id of the newest event that was read, or of the newest of the log before; "" if unknown
	size    int                // bytes of items
	news    chan struct{}      // closed when there is more; nil while nobody waits for it
}

// item is an event, and as it is sent.
type item struct {
	park.Event
	frame []byte
}

const (
	maxItems     = 16 << 10
	maxItemBytes = 16 << 20
	// feedRest is how long a feed whose log cannot be read rests before it tries again.
	feedRest = time.Second
)

// join begins to follow and returns the number of the next event, and the id of the one before it as far as it is known.
func (f *feed) join() (next int64, cursor string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers++
	if f.stop == nil {
		ctx, stop := context.WithCancel(f.api.closing)
		f.stop = stop
		// Before join returns: what happens after that is in the feed.
		f.cursor = f.newest(ctx)
		go f.read(ctx, f.cursor, f.watch(ctx, f.cursor))
	}
	return f.first + int64(len(f.items)), f.cursor
}

// newest returns the id of the newest event of the log, or "" where there is none, or none can be had.
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

// end returns the number of the next event.
func (f *feed) end() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first + int64(len(f.items))
}

// pace returns how long a stream that has written rests.
func (f *feed) pace() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(time.Duration(f.readers)*flushRest, mostFlushRest)
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

// read appends what is watched. Where that breaks off it goes on after the last event; where there was none yet, all
// streams look in the log for what they have missed.
func (f *feed) read(ctx context.Context, after string, watched func(func(park.Event, error) bool)) {
	failed := 0
	for {
		for e, err := range watched {
			if err != nil {
				if failed++; failed == 2 && ctx.Err() == nil { // the first may be the end of the daemon
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
		if !restFor(ctx, feedRest) {
			f.ended()
			return
		}
		watched = f.watch(ctx, after)
		if after == "" {
			f.miss(ctx)
		}
	}
}

// ended says once how many streams the end of the daemon ends.
func (f *feed) ended() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.api.closing.Err() != nil && f.readers > 0 {
		f.api.cfg.Log.Info("streams of events end with the daemon", "streams", f.readers)
	}
}

// restFor waits and returns false at the end of ctx.
func restFor(ctx context.Context, d time.Duration) bool {
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
		return // another feed may go on with the list
	}
	f.items, f.size, f.cursor = append(f.items, i), f.size+len(i.frame), e.EventID
	for len(f.items) > f.most || f.size > maxItemBytes {
		f.size -= len(f.items[0].frame)
		f.items, f.first = f.items[1:], f.first+1
	}
	f.wake()
}

// miss has every stream take the list for one that it has fallen behind.
func (f *feed) miss(ctx context.Context) {
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
	if f.news != nil {
		close(f.news)
		f.news = nil
	}
}

// since calls each for the events from number next on, and returns the number behind them; ok is false where the list
// begins later than that. Where there is none, more is closed when there is.
func (f *feed) since(next int64, each func(*item)) (behind int64, more <-chan struct{}, ok bool) {
	f.mu.Lock()
	if next < f.first {
		f.mu.Unlock()
		return next, nil, false
	}
	// What is in the list stays as it is, also when it is dropped from there.
	items := f.items[min(next-f.first, int64(len(f.items))):]
	items = slices.Clip(items)
	if len(items) == 0 {
		if f.news == nil {
			f.news = make(chan struct{})
		}
		more = f.news
	}
	f.mu.Unlock()
	for i := range items {
		each(&items[i])
	}
	return next + int64(len(items)), more, true
}

// frame returns an event as it is sent.
func (a *API) frame(e *park.Event) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %s\nevent: %s\ndata: ", e.EventID, e.Action)
	if err := encode(&b, e); err != nil {
		a.cfg.Log.Error("event not encoded", "event", e.EventID, "error", err)
		return nil
	}
	b.WriteByte('\n') // a second one: encode has written the first
	return b.Bytes()
}

// wants reports whether a query selects an event, as a store would.
func wants(q *park.AuditQuery, e *park.Event) bool {
	return q.Selects(e.Action) &&
		(q.TaskID == "" || q.TaskID == e.TaskID) && (q.PoolID == "" || q.PoolID == e.PoolID) && (q.Tenant == "" || q.Tenant == e.Tenant) &&
		(q.Since.IsZero() || !e.At.Before(q.Since.Time)) && (q.Until.IsZero() || e.At.Before(q.Until.Time))
}
