package main

// A million parked tasks: what they cost in memory, in time for others, and at a restart.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

const (
	// units of the pool. One is held by the blocker, and so a task that needs all of them parks for good.
	units    = 1024
	fewTasks = 1_000
	loading  = 1_000 // tasks in a request while the lot is filled
)

func (b *bench) parkedRows(ctx context.Context) error {
	var errs []error
	for _, backend := range []string{"in_memory", "file", "postgres"} {
		if err := b.crowded(ctx, backend); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", backend, err))
		}
	}
	return errors.Join(errs...)
}

// crowd is a daemon with parked tasks.
type crowd struct {
	*process
	serve func() (*process, error)
	costs []float64
}

// crowded fills two lots, one with few tasks and one with many, measures both in turn, and restarts the full one.
func (b *bench) crowded(ctx context.Context, backend string) error {
	var pg *server.Server
	if backend == "postgres" {
		var err error
		if pg, err = startPostgres(ctx); err != nil {
			return err
		}
		defer pg.Stop()
	}
	var both [2]*crowd
	for i, n := range []int{fewTasks, b.parked} {
		began := time.Now()
		c, err := b.crowd(ctx, backend, pg, n)
		if err != nil {
			return err
		}
		defer func() {
			_ = c.stop()
			_ = os.RemoveAll(c.dir)
		}()
		b.say("  %s: %d parked in %s", backend, n, time.Since(began).Round(time.Second))
		both[i] = c
	}
	name := backend
	if backend == "in_memory" {
		name = "memory"
	} else {
		b.note("resident-"+name, "of the daemon that took them", float64(both[1].resident())/1e6)
	}
	var growth []float64
	for round := range b.rounds {
		for _, c := range both {
			if err := b.cost(ctx, c, round); err != nil {
				return err
			}
		}
		growth = append(growth, both[1].costs[round]/both[0].costs[round])
	}
	detail := fmt.Sprintf("%.0f and %.0f µs a task, from %d clients, behind %d and %d parked", medianOf(both[0].costs), medianOf(both[1].costs), few, fewTasks, b.parked)
	if pg != nil {
		detail += ", once the server has vacuumed and written down what was parked"
	}
	b.note("parked-"+name, detail, growth...)
	if backend == "in_memory" {
		return nil
	}
	return b.restart(ctx, name, both[1])
}

// crowd starts a daemon and parks so many tasks there.
func (b *bench) crowd(ctx context.Context, backend string, pg *server.Server, n int) (*crowd, error) {
	dsn, dir := "", b.fresh("crowd")
	if pg != nil {
		var err error
		if dsn, err = pg.Create(ctx, fmt.Sprint("crowd", n), "template1"); err != nil {
			return nil, err
		}
		if err := b.migrate(ctx, dsn); err != nil {
			return nil, err
		}
	}
	conf := configured(dir, backend, dsn, func(s, p settings) {
		p["max_units"] = units
		s["drain_timeout"] = "100ms"
	})
	c := &crowd{serve: func() (*process, error) { return b.serve(ctx, dir, conf) }}
	var err error
	if c.process, err = c.serve(); err != nil {
		return nil, err
	}
	svc, err := client.New(client.Config{URL: c.url})
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	// It holds a unit, so that what needs them all waits; and what needs but one and is critical runs at once.
	r, err := svc.Submit(ctx, pool, []park.Submission{{TaskID: "blocker", Payload: []byte(`{"durationMs":86400000}`), TimeoutSecs: 1_000_000}})
	if err == nil && r[0].Err != nil {
		err = r[0].Err
	}
	if err == nil {
		err = fill(ctx, c.process, n)
	}
	if err == nil && pg != nil {
		err = settle(ctx, dsn)
	}
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// fill parks n tasks.
func fill(ctx context.Context, d *process, n int) error {
	l := load{
		urls: []string{d.url}, clients: 4, batch: loading, prefix: "parked",
		priority: "low", units: units, most: n,
	}
	o, err := l.drive(ctx, time.Hour)
	if err == nil && o.tasks != n {
		err = fmt.Errorf("%d tasks were parked, not %d", o.tasks, n)
	}
	return err
}

// cost notes what a task costs, in µs, that runs at once although others are parked.
func (b *bench) cost(ctx context.Context, c *crowd, round int) error {
	l := load{urls: []string{c.url}, clients: few, prefix: fmt.Sprint("round", round), priority: "critical"}
	o, err := l.drive(ctx, b.length)
	if err != nil {
		return err
	}
	c.costs = append(c.costs, 1e6/o.perSecond())
	return nil
}

// restart ends the daemon, with the blocker running, and measures from the start of another until the first task starts.
// On the file it is killed. On Postgres it is told to stop, for the tasks of a killed node are taken over only when the
// others can be sure that it is dead.
func (b *bench) restart(ctx context.Context, name string, c *crowd) error {
	var took []float64
	var resident int64
	for range min(b.rounds, 3) {
		if name == "file" {
			c.kill()
		} else if err := c.stop(); err != nil {
			return err
		}
		began := time.Now()
		next, err := c.serve()
		if err != nil {
			return err
		}
		c.process = next
		if err := started(ctx, next, park.At(began)); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
		resident = next.resident()
	}
	b.note("restart-"+name, "from the start of the process", took...)
	b.note("resident-"+name+"-again", "of a daemon that found them in the store", float64(resident)/1e6)
	return nil
}

// started waits until the log shows a start since then.
func started(ctx context.Context, d *process, since park.Time) error {
	svc, err := client.New(client.Config{URL: d.url})
	if err != nil {
		return err
	}
	for giveUp := time.Now().Add(time.Minute); time.Now().Before(giveUp); time.Sleep(5 * time.Millisecond) {
		page, err := svc.Audit(ctx, park.AuditQuery{PoolID: pool, Action: park.ActStart, Since: since, Limit: 1})
		if err == nil && len(page.Events) > 0 {
			return nil
		}
	}
	return errors.New("nothing was started within a minute")
}
