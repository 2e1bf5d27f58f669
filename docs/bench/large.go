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

// crowded fills a lot and measures the daemon before, with it, and after a restart.
func (b *bench) crowded(ctx context.Context, backend string) error {
	var pg *server.Server
	dsn := ""
	if backend == "postgres" {
		var err error
		if pg, err = startPostgres(ctx); err != nil {
			return err
		}
		defer pg.Stop()
		if dsn, err = pg.Create(ctx, "crowded", "template1"); err != nil {
			return err
		}
		if err := b.migrate(ctx, dsn); err != nil {
			return err
		}
	}
	dir := b.fresh("crowded")
	defer os.RemoveAll(dir)
	conf := configured(dir, backend, dsn, func(s, p settings) {
		p["max_units"] = units
		s["drain_timeout"] = "100ms"
	})
	d, err := b.serve(ctx, dir, conf)
	if err != nil {
		return err
	}
	defer func() { _ = d.stop() }()
	svc, err := client.New(client.Config{URL: d.url})
	if err != nil {
		return err
	}
	// It holds a unit, so that what needs them all waits; and what needs but one and is critical runs at once.
	r, err := svc.Submit(ctx, pool, []park.Submission{{TaskID: "blocker", Payload: []byte(`{"durationMs":86400000}`), TimeoutSecs: 1_000_000}})
	if err != nil || r[0].Err != nil {
		return fmt.Errorf("submit: %v %v", err, r)
	}
	var growth []float64
	if err := fill(ctx, d, "few", fewTasks); err != nil {
		return err
	}
	var before, after []float64
	if err := b.cost(ctx, d, "before", &before); err != nil {
		return err
	}
	began := time.Now()
	if err := fill(ctx, d, "parked", b.parked); err != nil {
		return err
	}
	b.say("  %s: %d parked in %s", backend, b.parked, time.Since(began).Round(time.Second))
	if err := b.cost(ctx, d, "after", &after); err != nil {
		return err
	}
	for i := range before {
		growth = append(growth, after[i]/before[i])
	}
	name := map[string]string{"in_memory": "memory"}[backend]
	if name == "" {
		name = backend
	}
	b.note("parked-"+name, fmt.Sprintf("%.0f and %.0f µs a task, from 64 clients, behind %d and %d parked", medianOf(before), medianOf(after), fewTasks, b.parked), growth...)
	if backend == "in_memory" {
		return nil
	}
	b.note("resident-"+name, "of the daemon that took them", float64(d.resident())/1e6)
	return b.restart(ctx, name, d, func() (*process, error) { return b.serve(ctx, dir, conf) })
}

// fill parks n tasks.
func fill(ctx context.Context, d *process, prefix string, n int) error {
	l := load{
		urls: []string{d.url}, clients: 4, batch: loading, prefix: prefix,
		priority: "low", units: units, most: n,
	}
	o, err := l.drive(ctx, time.Hour)
	if err == nil && o.tasks != n {
		err = fmt.Errorf("%d tasks were parked, not %d", o.tasks, n)
	}
	return err
}

// cost adds what a task costs, in µs, that runs at once although others are parked.
func (b *bench) cost(ctx context.Context, d *process, prefix string, to *[]float64) error {
	for round := range b.rounds {
		l := load{urls: []string{d.url}, clients: few, prefix: fmt.Sprint(prefix, round), priority: "critical"}
		o, err := l.drive(ctx, b.length)
		if err != nil {
			return err
		}
		*to = append(*to, 1e6/o.perSecond())
	}
	return nil
}

// restart ends the daemon, with the blocker running, and measures from the start of another until the first task starts.
// On the file it is killed. On Postgres it is told to stop, for the tasks of a killed node are taken over only when the
// others can be sure that it is dead.
func (b *bench) restart(ctx context.Context, name string, d *process, again func() (*process, error)) error {
	var took []float64
	var resident int64
	for range min(b.rounds, 3) {
		if name == "file" {
			d.kill()
		} else if err := d.stop(); err != nil {
			return err
		}
		began := time.Now()
		next, err := again()
		if err != nil {
			return err
		}
		*d = *next
		if err := started(ctx, d, park.At(began)); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
		resident = d.resident()
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
