package main

// A million parked tasks: what they cost in memory, in time of other tasks, and at a restart.

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
	// units of the pool. The blocker holds one of them, so a task that needs all of them stays parked.
	units     = 1024
	fewTasks  = 1_000
	fillBatch = 1_000 // tasks in a request while the lot is filled
)

func (b *bench) parkedRows(ctx context.Context) error {
	var errs []error
	for _, backend := range []string{"in_memory", "file", "postgres"} {
		if err := b.measureParked(ctx, backend); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", backend, err))
		}
	}
	return errors.Join(errs...)
}

// parkedDaemon is a daemon with parked tasks.
type parkedDaemon struct {
	*process
	serve func() (*process, error)
	costs []float64
}

// measureParked starts a daemon with few parked tasks and one with many, measures both in turn, and restarts the
// second.
func (b *bench) measureParked(ctx context.Context, backend string) error {
	var pg *server.Server
	if backend == "postgres" {
		var err error
		if pg, err = startPostgres(ctx); err != nil {
			return err
		}
		defer pg.Stop()
	}
	var both [2]*parkedDaemon
	for i, n := range []int{fewTasks, b.parked} {
		began := time.Now()
		c, err := b.startParked(ctx, backend, pg, n)
		if err != nil {
			return err
		}
		defer func() {
			_ = c.stop()
			_ = os.RemoveAll(c.dir)
		}()
		b.logf("  %s: %d parked in %s", backend, n, time.Since(began).Round(time.Second))
		both[i] = c
	}
	name := backend
	if backend == "in_memory" {
		name = "memory"
	} else {
		b.record("resident-"+name, "of the daemon that accepted them", float64(both[1].residentBytes())/1e6)
	}
	var growth []float64
	for round := range b.rounds {
		for _, c := range both {
			if err := b.measureCost(ctx, c, round); err != nil {
				return err
			}
		}
		growth = append(growth, both[1].costs[round]/both[0].costs[round])
	}
	detail := fmt.Sprintf("%.0f and %.0f µs per task, from %d clients, with %d and %d parked", medianOf(both[0].costs), medianOf(both[1].costs), fewClients, fewTasks, b.parked)
	if pg != nil {
		detail += ", after a vacuum and a checkpoint of the server"
	}
	b.record("parked-"+name, detail, growth...)
	if backend == "in_memory" {
		return nil
	}
	return b.restart(ctx, name, both[1])
}

// startParked starts a daemon and parks n tasks.
func (b *bench) startParked(ctx context.Context, backend string, pg *server.Server, n int) (*parkedDaemon, error) {
	dsn, dir := "", b.newDir("crowd")
	if pg != nil {
		var err error
		if dsn, err = pg.Create(ctx, fmt.Sprint("crowd", n), "template1"); err != nil {
			return nil, err
		}
		if err := b.migrate(ctx, dsn); err != nil {
			return nil, err
		}
	}
	conf := newSettings(dir, backend, dsn, func(s, p settings) {
		p["max_units"] = units
		s["drain_timeout"] = "100ms"
	})
	c := &parkedDaemon{serve: func() (*process, error) { return b.serve(ctx, dir, conf) }}
	var err error
	if c.process, err = c.serve(); err != nil {
		return nil, err
	}
	svc, err := client.New(client.Config{URL: c.url})
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	// The blocker holds a unit. So a task that needs all units waits, and a critical task that needs one runs at once.
	r, err := svc.Submit(ctx, pool, []park.Submission{{TaskID: "blocker", Payload: []byte(`{"durationMs":86400000}`), TimeoutSecs: 1_000_000}})
	if err == nil && r[0].Err != nil {
		err = r[0].Err
	}
	if err == nil {
		err = parkTasks(ctx, c.process, n)
	}
	if err == nil && pg != nil {
		err = vacuum(ctx, dsn)
	}
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// parkTasks parks n tasks.
func parkTasks(ctx context.Context, d *process, n int) error {
	l := load{
		urls: []string{d.url}, clients: 4, batch: fillBatch, prefix: "parked",
		priority: "low", units: units, maxTasks: n,
	}
	m, err := l.drive(ctx, time.Hour)
	if err == nil && m.tasks != n {
		err = fmt.Errorf("%d tasks were parked, not %d", m.tasks, n)
	}
	return err
}

// measureCost records the time of a task, in µs, that runs at once while others are parked.
func (b *bench) measureCost(ctx context.Context, c *parkedDaemon, round int) error {
	l := load{urls: []string{c.url}, clients: fewClients, prefix: fmt.Sprint("round", round), priority: "critical"}
	m, err := l.drive(ctx, b.duration)
	if err != nil {
		return err
	}
	c.costs = append(c.costs, 1e6/m.perSecond())
	return nil
}

// restart ends the daemon while the blocker runs, starts another, and measures the time until its first start of a
// task. With the file the daemon is killed. With Postgres it is stopped, since other nodes take over the tasks of a
// killed node only when they can be sure that it is dead.
func (b *bench) restart(ctx context.Context, name string, c *parkedDaemon) error {
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
		if err := waitStarted(ctx, next, park.At(began)); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
		resident = next.residentBytes()
	}
	b.record("restart-"+name, "from the start of the process", took...)
	b.record("resident-"+name+"-again", "of a daemon that loaded them from the store", float64(resident)/1e6)
	return nil
}

// waitStarted waits until the log has a start after a time.
func waitStarted(ctx context.Context, d *process, since park.Time) error {
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
	return errors.New("no task was started within a minute")
}
