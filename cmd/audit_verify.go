package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/park"
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
		Long: `Replays each pool's audit log, using code independent of the scheduler, and checks that
  - no start took more units than the pool had,
  - no more tasks were parked than the pool allows,
  - tasks started in order and before their deadlines,
  - every task's life is valid and ends once,
  - no event is missing,
  - the log ends in the pool's present state.
It then compares every task and every message with the log, in both directions: none may be missing, duplicated
or different. It stops at the first violation with exit code 1, and prints it with its rev, if it has one.

Marks in the store record what retention has removed, so removed data is not reported as missing. With --since
the log is checked as far as possible. The command reads the data of all tenants: a token that is bound to one
tenant is refused.`,
		Example: "  parkd audit verify\n  parkd audit verify --pool gpu -o json",
		Args:    noArgs,
		RunE: g.run(func(ctx context.Context, _ []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runAuditVerify(ctx, g, svc, o)
		}),
	}
	g.poolFlag(c, &o.pool, "only this pool (default all)")
	c.Flags().StringVar(&o.since, "since", "", "only events since: a duration ago (24h, 7d) or an RFC 3339 time")
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon)
	return c
}

// verdict is the result of the replay of one pool.
type verdict struct {
	verify.Report
	OK      bool        `json:"ok"`
	Offence string      `json:"offence,omitempty"`
	Rule    verify.Rule `json:"rule,omitempty"` // the first broken one
	Rev     int64       `json:"rev,omitempty"`  // where it was broken
	TaskID  string      `json:"taskId,omitempty"`
}

type verdictPage struct {
	Pools []verdict `json:"pools"`
}

func runAuditVerify(ctx context.Context, g *globals, svc park.Service, o verifyOptions) error {
	options := verify.Options{Now: g.now}
	var err error
	if o.since != "" {
		if options.Since, err = parsePast("since", o.since, g.now()); err != nil {
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
		v, err := verifyPool(ctx, svc, p.PoolID, options)
		if _, found := errors.AsType[*verify.Offence](err); err != nil && !found {
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
		return &cliError{Code: exitFailed, Name: "audit_offence", Err: first}
	}
	return nil
}

func verifyPool(ctx context.Context, svc park.Service, pool string, o verify.Options) (verdict, error) {
	r, err := verify.Pool(ctx, svc, pool, o)
	v := verdict{Report: r, OK: err == nil}
	v.PoolID = pool
	if o, ok := errors.AsType[*verify.Offence](err); ok {
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
		return "violation"
	case v.Partial:
		return "ok (partial)"
	}
	return "ok"
}

func revs(v verdict) string {
	if v.Events == 0 {
		return ""
	}
	return fmt.Sprintf("%d-%d", v.FirstRev, v.LastRev)
}
