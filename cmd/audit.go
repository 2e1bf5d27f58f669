package cmd

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/park"
)

type auditOptions struct {
	task   string
	pool   string
	tenant string
	action choice
	since  string
	until  string
	cursor string
	limit  int
	follow bool
	// changes includes changes of pools
	changes bool
	given   func(flag string) bool
}

func newAuditCommand(g *globals) *cobra.Command {
	o := auditOptions{action: choice{words: toStrings(park.Actions())}}
	c := &cobra.Command{
		Use:   "audit [flags]",
		Short: "Print and verify the audit log",
		Long: `Prints the audit log, oldest first: every step of every task's life. Within a pool, events are in the order in
which they happened. Without --since, --task or --cursor it covers the last 24 hours. With --changes it also shows
changes of pools, and requests to stop a running task, as events with the action update.

With --follow it keeps printing new events. Without --since, it then starts with new events only.`,
		Example: `  parkd audit --task render-41
  parkd audit --pool gpu --action start --since 1h
  parkd audit --follow -o ndjson
  parkd audit --changes --pool gpu
  parkd audit verify`,
		RunE: g.group(func(ctx context.Context) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runAudit(ctx, g, svc, o)
		}),
	}
	o.flags(g, c)
	c.AddCommand(newAuditVerifyCommand(g))
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon, exitInterrupted)
	return c
}

func (o *auditOptions) flags(g *globals, c *cobra.Command) {
	fs := c.Flags()
	o.given = fs.Changed
	fs.StringVar(&o.task, "task", "", "only this task")
	g.poolFlag(c, &o.pool, "only this pool")
	fs.StringVar(&o.tenant, "tenant", "", "only this tenant")
	fs.Var(&o.action, "action", "only events with this action: submit, enqueue, start, complete, fail, …")
	fs.BoolVar(&o.changes, "changes", false, "also show changes of pools, and requests to stop a task")
	fs.StringVar(&o.since, "since", "", "only events since: a duration ago (24h, 7d) or an RFC 3339 time")
	fs.StringVar(&o.until, "until", "", "only events before: a duration ago or an RFC 3339 time")
	fs.StringVar(&o.cursor, "cursor", "", "only events after the one with this id, such as gpu:17:2")
	fs.IntVar(&o.limit, "limit", 0, "maximum number of events to print (default all)")
	fs.BoolVarP(&o.follow, "follow", "f", false, "keep printing new events")
	completeWords(c, "action", toStrings(park.Actions()))
	_ = c.RegisterFlagCompletionFunc("task", g.completeTasks(&o.pool, false))
}

// defaultAuditWindow is how far back the log is shown by default.
const defaultAuditWindow = 24 * time.Hour

func (o *auditOptions) query(now time.Time) (park.AuditQuery, error) {
	q := park.AuditQuery{TaskID: o.task, PoolID: o.pool, Tenant: o.tenant, Action: park.Action(o.action.value), Cursor: o.cursor, Changes: o.changes}
	var err error
	if o.limit < 0 || o.limit == 0 && o.given("limit") {
		return q, usagef("--limit must be at least 1, not %d; leave it out to print all", o.limit)
	}
	if o.since != "" {
		if q.Since, err = parsePast("since", o.since, now); err != nil {
			return q, err
		}
	} else if o.task == "" && o.cursor == "" && !o.follow {
		q.Since = park.At(now.Add(-defaultAuditWindow))
	}
	if o.until != "" {
		q.Until, err = parsePast("until", o.until, now)
	}
	return q, err
}

func runAudit(ctx context.Context, g *globals, svc park.Service, o auditOptions) error {
	q, err := o.query(g.now())
	if err != nil {
		return err
	}
	if o.follow {
		return followAudit(ctx, g, svc, q, o.limit)
	}
	all := park.EventPage{Events: []park.Event{}}
	out := newStream(g.printer(), eventList())
	err = eachEvent(ctx, svc, q, o.limit, func(e park.Event) error {
		if g.output == asJSON {
			all.Events = append(all.Events, e)
			return nil
		}
		all.Next = e.EventID
		return out.print(e)
	})
	switch {
	case err != nil:
		return err
	case g.output == asJSON:
		return g.printer().json(all)
	case all.Next == "":
		g.notice("No matching events.")
	}
	return nil
}

// eventPageSize is the maximum number of events in one response.
const eventPageSize = 1000

// eachEvent calls f for the events that q selects, up to limit of them; 0 means all.
func eachEvent(ctx context.Context, svc park.Service, q park.AuditQuery, limit int, f func(park.Event) error) error {
	pageSize := eventPageSize
	for seen := 0; limit == 0 || seen < limit; {
		q.Limit = pageSize
		if limit > 0 {
			q.Limit = min(pageSize, limit-seen)
		}
		page, err := svc.Audit(ctx, q)
		if reducePageSize(&pageSize, q.Limit, err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			if err := f(e); err != nil {
				return err
			}
		}
		seen += len(page.Events)
		if page.Next == "" || len(page.Events) == 0 {
			break
		}
		q.Cursor = page.Next
	}
	return nil
}

// reducePageSize reports whether a response was too large for the requested number of items, and then halves the page
// size.
func reducePageSize(pageSize *int, requested int, err error) bool {
	if !errors.Is(err, client.ErrTooLarge) || requested < 2 {
		return false
	}
	*pageSize = requested / 2
	return true
}

// followAudit prints new events. The watch reconnects by itself, because only it knows where it was, so no event is
// missed or shown twice.
func followAudit(ctx context.Context, g *globals, svc park.Service, q park.AuditQuery, limit int) error {
	out := newStream(g.printer(), eventList())
	policy, reported, printed := g.retryForever(), false, 0
	for e, err := range svc.Watch(ctx, q) {
		if err != nil {
			if !policy.retries(ctx, err) {
				return err
			}
			if !reported {
				policy.onLost()
			}
			reported = true
			continue
		}
		reported = false
		if err := out.print(e); err != nil {
			return err
		}
		if printed++; limit > 0 && printed >= limit {
			return nil
		}
	}
	return ctx.Err()
}
