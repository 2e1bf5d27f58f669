package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/replay"
)

type verifyOptions struct {
	pool  string
	since string
}

func newAuditVerifyCommand(g *globals) *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:   "verify [flags]",
		Short: "Replay the audit log and check every rule",
		Long: `Plays each pool's audit log again, with a program that shares nothing with the scheduler, and checks that no
start ever took more units than the pool had, that no more tasks were parked than it has room for, that every
task's life is a legal one and ends once, that nothing is missing from the log, and that it ends where the pool
stands now. Then it looks for the one message that each ended task with a mailbox key leaves. The first offence
ends it with exit code 1, and is told with the rev at which it happened.

A log whose oldest events were pruned, or that is read with --since, is checked as far as it goes.`,
		Example: "  parkd audit verify\n  parkd audit verify --pool gpu -o json",
		Args:    cobra.NoArgs,
		RunE: g.run(func(ctx context.Context, _ []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runAuditVerify(ctx, g, svc, o)
		}),
	}
	g.poolFlag(c, &o.pool, "only this pool; default: all")
	c.Flags().StringVar(&o.since, "since", "", "begin there: a duration (24h, 7d) or an RFC 3339 time")
	exits(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon)
	return c
}

// verdict is what the replay of one pool found.
type verdict struct {
	replay.Summary
	OK      bool        `json:"ok"`
	Offence string      `json:"offence,omitempty"`
	Rule    replay.Rule `json:"rule,omitempty"` // that was broken first
	Rev     int64       `json:"rev,omitempty"`  // at which it was
	TaskID  string      `json:"taskId,omitempty"`
}

type verdictPage struct {
	Pools []verdict `json:"pools"`
}

func runAuditVerify(ctx context.Context, g *globals, svc park.Service, o verifyOptions) error {
	q := park.AuditQuery{Changes: true}
	var err error
	if o.since != "" {
		if q.Since, err = moment("since", o.since, g.now()); err != nil {
			return err
		}
	}
	pools, err := poolsOf(ctx, svc, o.pool)
	if err != nil {
		return err
	}
	page := verdictPage{Pools: []verdict{}}
	var first error
	for _, p := range pools {
		q.PoolID = p.PoolID
		v, err := verify(ctx, svc, p.PoolID, q, g.now())
		if _, found := errors.AsType[*replay.Offence](err); err != nil && !found {
			return err
		}
		page.Pools = append(page.Pools, v)
		if first = err; first != nil {
			break
		}
	}
	if err := verdictList().print(g.printer(), page, page.Pools); err != nil {
		return err
	}
	if first != nil {
		return &exit{Code: exitFailed, Name: "audit_offence", Err: first}
	}
	return nil
}

// verify replays the log of one pool up to its first offence, and looks into its mailboxes. The limits that it begins with
// are worked out from two reads, between which somebody may change them, and the log may hear of a change a little later
// than the pool: so an offence against limits counts only if they are the same when they are worked out again.
func verify(ctx context.Context, svc park.Service, pool string, q park.AuditQuery, now time.Time) (v verdict, err error) {
	start, err := startingLimits(ctx, svc, pool, q)
	if err != nil {
		return verdict{}, err
	}
	for range endTries {
		v, err = verifyFrom(ctx, svc, start, q, now)
		if err == nil || !v.Rule.OfLimits() {
			return v, err
		}
		if err := pause(ctx, limitsRest); err != nil {
			return verdict{}, err
		}
		again, err1 := startingLimits(ctx, svc, pool, q)
		if err1 != nil || again == start {
			return v, cmp.Or(err1, err)
		}
		start = again
	}
	return v, err
}

// limitsRest is how long a change of a pool may take to the log.
const limitsRest = time.Second

func verifyFrom(ctx context.Context, svc park.Service, start replay.Limits, q park.AuditQuery, now time.Time) (verdict, error) {
	pool := q.PoolID
	played := replay.New(start)
	var err error
	if err = playOn(ctx, svc, played, &q); err == nil {
		err = played.Finish()
	}
	if err == nil {
		err = verifyEnd(ctx, svc, played, q)
	}
	if err == nil {
		err = verifyMail(ctx, svc, pool, q.Since, now)
	}
	v := verdict{Summary: played.Summary(), OK: err == nil}
	v.PoolID = pool
	if o, ok := errors.AsType[*replay.Offence](err); ok {
		v.Offence, v.Rule, v.Rev, v.TaskID = o.Error(), o.Rule, o.Rev, o.TaskID
	}
	return v, err
}

// startingLimits works back from the pool's limits of now to those before its log.
func startingLimits(ctx context.Context, svc park.Service, pool string, q park.AuditQuery) (replay.Limits, error) {
	q.Action = park.ActUpdate
	var updates []park.Event
	err := eachEvent(ctx, svc, q, 0, func(e park.Event) error {
		updates = append(updates, e)
		return nil
	})
	if err != nil {
		return replay.Limits{}, err
	}
	now, err := svc.Pool(ctx, pool)
	if err != nil {
		return replay.Limits{}, err
	}
	return replay.Initial(replay.Of(now), updates), nil
}

func verdictList() listing[verdict] {
	return listing[verdict]{
		id: func(v verdict) string { return v.PoolID },
		columns: []column[verdict]{
			{name: "pool", cell: func(_ *printer, v verdict) string { return v.PoolID }},
			{name: "verdict", cell: func(_ *printer, v verdict) string { return v.word() }},
			{name: "events", right: true, cell: func(_ *printer, v verdict) string { return strconv.Itoa(v.Events) }},
			{name: "revs", right: true, cell: func(_ *printer, v verdict) string { return revs(v) }},
			{name: "starts", right: true, cell: func(_ *printer, v verdict) string { return strconv.Itoa(v.Started) }},
			{name: "most units", right: true, cell: func(_ *printer, v verdict) string { return strconv.FormatInt(v.MaxUsed, 10) }},
			{name: "most parked", right: true, cell: func(_ *printer, v verdict) string { return strconv.Itoa(v.MaxQueued) }},
			{name: "rejected", right: true, wide: true, cell: func(_ *printer, v verdict) string { return strconv.Itoa(v.Rejected) }},
			{name: "requeued", right: true, wide: true, cell: func(_ *printer, v verdict) string { return strconv.Itoa(v.Requeued) }},
		},
	}
}

func (v verdict) word() string {
	switch {
	case !v.OK:
		return "offence"
	case v.Partial && v.Events > 0:
		return "ok, as far as it goes"
	}
	return "ok"
}

func revs(v verdict) string {
	if v.Events == 0 {
		return ""
	}
	return fmt.Sprintf("%d-%d", v.FirstRev, v.LastRev)
}
