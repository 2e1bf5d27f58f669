package loadtest

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The reads of a fake pool.

func (f *fake) Evidence(context.Context, string) (park.Evidence, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return park.Evidence{PoolID: "load", Rev: f.rev}, nil
}

func (f *fake) Task(ctx context.Context, _, id string, wait time.Duration) (park.Task, error) {
	f.mu.Lock()
	t := f.tasks[id]
	f.mu.Unlock()
	if t == nil {
		return park.Task{}, park.Errorf(park.TaskNotFound, "no task %s", id)
	}
	if wait > 0 {
		select {
		case <-t.done:
		case <-ctx.Done():
			return park.Task{}, ctx.Err()
		}
	}
	return t.view(), nil
}

func (f *fake) Tasks(_ context.Context, _ string, q park.TaskQuery) (park.TaskPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var p park.TaskPage
	from := len(f.all)
	if q.Cursor != "" {
		from, _ = strconv.Atoi(q.Cursor)
	}
	for ; from > 0 && len(p.Tasks) < q.Limit; from-- {
		p.Tasks = append(p.Tasks, f.all[from-1].view())
	}
	if from > 0 {
		p.Next = strconv.Itoa(from)
	}
	return p, nil
}

func (f *fake) Mailbox(_ context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.mail[mailbox{q.Tenant, q.Key}]
	from, _ := strconv.Atoi(q.After)
	page := all[from:min(len(all), from+q.Limit)]
	return park.MessagePage{Messages: slices.Clone(page)}, nil
}

func (f *fake) Audit(_ context.Context, q park.AuditQuery) (park.EventPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return selected(f.events, q), nil
}

func (f *fake) after(cursor string) int {
	_, rev, ord, err := park.ParseEventID(cursor)
	if err != nil {
		return 0
	}
	i, _ := slices.BinarySearchFunc(f.events, park.Event{Rev: rev, Ord: ord + 1}, func(a, b park.Event) int {
		return cmp.Or(cmp.Compare(a.Rev, b.Rev), a.Ord-b.Ord)
	})
	return i
}

func (f *fake) Watch(ctx context.Context, q park.AuditQuery) iter.Seq2[park.Event, error] {
	return func(yield func(park.Event, error) bool) {
		f.mu.Lock()
		at := f.after(q.Cursor)
		f.mu.Unlock()
		for ctx.Err() == nil {
			f.mu.Lock()
			more, grown := f.events[at:], f.moreEvents
			f.mu.Unlock()
			for _, e := range more {
				if e.Action == park.ActUpdate {
					continue
				}
				if !yield(e, nil) {
					return
				}
			}
			at += len(more)
			select {
			case <-grown:
			case <-ctx.Done():
			}
		}
	}
}
