package api

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// A tenant's task may be kept under another id than the tenant gave it, see [park.TenantTaskID]. Here the one is made of the
// other, both ways.

// find returns the tenant's task that it knows by id, with the id that it is kept under.
func (v tenantView) find(ctx context.Context, pool, id string) (park.Task, error) {
	for _, kept := range []string{id, park.TenantTaskID(id, v.tenant)} {
		t, err := v.service.Task(ctx, pool, kept, 0)
		if err == nil && t.Tenant == v.tenant || err != nil && park.CodeOf(err) != park.TaskNotFound {
			return t, err
		}
	}
	// In one wording: that somebody else has such a task is not to be told.
	return park.Task{}, park.Errorf(park.TaskNotFound, "pool %s has no task %q", pool, id)
}

// shownTask returns a task as its tenant sees it.
func shownTask(t park.Task) park.Task {
	t.TaskID = park.ShownTaskID(t.TaskID)
	return t
}

// shownError returns what the tenant is told of an error about its task.
func shownError(err error, id, tenant string) error {
	e, ok := errors.AsType[*park.Error](err)
	if !ok {
		return err
	}
	shown := *e
	shown.TaskID = park.ShownTaskID(e.TaskID)
	shown.Detail = strings.ReplaceAll(e.Detail, park.TenantTaskID(id, tenant), id)
	return &shown
}

// shownEvent returns an event as its tenant sees it.
func shownEvent(e park.Event) park.Event {
	e.TaskID = park.ShownTaskID(e.TaskID)
	return e
}

// Audit implements [park.AuditService].
func (v tenantView) Audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error) {
	if err := v.checkTenant(q.Tenant); err != nil {
		return park.EventPage{}, err
	}
	q.Tenant = v.tenant
	page, err := v.audit(ctx, q)
	for i := range page.Events {
		page.Events[i] = shownEvent(page.Events[i])
	}
	return page, err
}

// noTask is an id that no task has.
const noTask = "@"

// audit reads the events of a task under both ids.
func (v tenantView) audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error) {
	if q.TaskID == "" {
		return v.service.Audit(ctx, q)
	}
	own := q
	own.TaskID = park.TenantTaskID(q.TaskID, v.tenant)
	if !park.ValidTaskID(q.TaskID) {
		q.TaskID, own.TaskID = noTask, noTask // the tenant is not to find out which id its task is kept under
	}
	page, err := v.service.Audit(ctx, q)
	if err != nil {
		return page, err
	}
	more, err := v.service.Audit(ctx, own)
	if err != nil || len(more.Events) == 0 {
		return page, err
	}
	return merged(page, more, q.Limit), nil
}

// merged returns the beginning of two pages as one, of up to limit events; 0 is no limit. What is left out comes after
// it.
func merged(a, b park.EventPage, limit int) park.EventPage {
	n := len(a.Events) + len(b.Events)
	if limit > 0 {
		n = min(n, limit)
	}
	for _, p := range []park.EventPage{a, b} {
		if p.Next != "" && len(p.Events) > 0 {
			n = min(n, len(p.Events)) // beyond that, more of it may come in between
		}
	}
	page := park.EventPage{Events: make([]park.Event, 0, n)}
	x, y := a.Events, b.Events
	for len(page.Events) < n {
		if len(y) == 0 || len(x) > 0 && earlier(&x[0], &y[0]) {
			page.Events, x = append(page.Events, x[0]), x[1:]
		} else {
			page.Events, y = append(page.Events, y[0]), y[1:]
		}
	}
	if len(x) > 0 || len(y) > 0 || a.Next != "" || b.Next != "" {
		page.Next = page.Events[n-1].EventID
	}
	return page
}

// earlier reports whether a comes before b in the log: in one pool for sure, else by their times.
func earlier(a, b *park.Event) bool {
	if a.PoolID == b.PoolID {
		return cmp.Or(cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.Ord, b.Ord)) < 0
	}
	return a.At.Before(b.At.Time)
}

// Watch implements [park.AuditService].
func (v tenantView) Watch(ctx context.Context, q park.AuditQuery) iter.Seq2[park.Event, error] {
	if err := v.checkTenant(q.Tenant); err != nil {
		return func(yield func(park.Event, error) bool) { yield(park.Event{}, err) }
	}
	task := q.TaskID
	q.Tenant, q.TaskID = v.tenant, ""
	events := v.service.Watch(ctx, q)
	return func(yield func(park.Event, error) bool) {
		for e, err := range events {
			e = shownEvent(e)
			if (err != nil || task == "" || e.TaskID == task) && !yield(e, err) {
				return
			}
		}
	}
}
