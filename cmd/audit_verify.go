package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/replay"
	"github.com/parkd-dev/parkd/pkg/verify"
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
start ever took more units than the pool had, that no more tasks were parked than it has room for, that tasks
start in their order and before their deadlines, that every task's life is a legal one and ends once, that
nothing is missing from the log, and that it ends where the pool stands now. Then it holds every task and every
message against the log, both ways: none may be missing, be there twice, or tell of something else. The first
offence ends it with exit code 1, and is told with the rev at which it happened, if it has one.

What was removed because it was old is told from what is missing by marks that are kept of it. A log that is read
with --since is checked as far as it goes. It tells of all tenants: a token that is bound to one may not verify.`,
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
	verify.Report
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
	look := verify.Options{Now: g.now}
	var err error
	if o.since != "" {
		if look.Since, err = moment("since", o.since, g.now()); err != nil {
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
		v, err := verifyPool(ctx, svc, p.PoolID, look)
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

func verifyPool(ctx context.Context, svc park.Service, pool string, o verify.Options) (verdict, error) {
	r, err := verify.Pool(ctx, svc, pool, o)
	v := verdict{Report: r, OK: err == nil}
	v.PoolID = pool
	if o, ok := errors.AsType[*replay.Offence](err); ok {
		v.Offence, v.Rule, v.Rev, v.TaskID = o.Error(), o.Rule, o.Rev, o.TaskID
	}
	return v, err
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
	case v.Partial:
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
