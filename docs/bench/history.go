package main

// A long history: queries of an audit log of ten million events, and retention of a million rows.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

const (
	logTenants = 100
	logPools   = 4
	perTask    = 4 // events
	perStep    = 256
	queryCount = 600
)

func (b *bench) audit(ctx context.Context) error {
	return errors.Join(b.auditFile(ctx), b.auditPostgres(ctx))
}

func (b *bench) auditFile(ctx context.Context) error {
	dir := b.newDir("audit")
	defer os.RemoveAll(dir)
	s, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "parkd.db")})
	if err != nil {
		return err
	}
	if err := b.fillLog(ctx, s); err != nil {
		return errors.Join(err, s.Close())
	}
	if err := s.Close(); err != nil {
		return err
	}
	return b.measureQueries(ctx, "file", func() (*process, error) { return b.serve(ctx, dir, newSettings(dir, "file", "", noRetention)) },
		func() error { return dropCache(dir) })
}

// noRetention disables retention, since the log may be of a day long ago.
func noRetention(s, _ settings) { s["retention"] = "0s" }

func (b *bench) auditPostgres(ctx context.Context) error {
	pg, err := startPostgres(ctx)
	if err != nil {
		return err
	}
	defer pg.Stop()
	dsn, err := pg.Create(ctx, "audit", "template1")
	if err != nil {
		return err
	}
	if err := b.migrate(ctx, dsn); err != nil {
		return err
	}
	s, err := postgres.Open(postgres.Config{DSN: dsn})
	if err != nil {
		return err
	}
	if err := b.fillLog(ctx, s); err != nil {
		return errors.Join(err, s.Close())
	}
	if err := s.Close(); err != nil {
		return err
	}
	host := strings.TrimPrefix(strings.Fields(dsn)[0], "host=")
	dir := b.newDir("audit")
	return b.measureQueries(ctx, "postgres", func() (*process, error) { return b.serve(ctx, dir, newSettings(dir, "postgres", dsn, noRetention)) },
		func() error {
			if err := checkpoint(ctx, dsn); err != nil {
				return err
			}
			pg.Quit()
			return errors.Join(dropCache(host), pg.Run(ctx))
		})
}

// checkpoint writes all changes of a server to its files, so that it replays no log when it starts again.
func checkpoint(ctx context.Context, dsn string) error { return execute(ctx, dsn, "CHECKPOINT") }

// vacuum does at once what the server would do some time after so many inserts.
func vacuum(ctx context.Context, dsn string) error {
	return execute(ctx, dsn, "VACUUM (ANALYZE)", "CHECKPOINT")
}

func execute(ctx context.Context, dsn string, texts ...string) error {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if err == nil {
			_, err = c.Exec(ctx, text)
		}
	}
	return errors.Join(err, c.Close(ctx))
}

// fillLog writes the events of a day as a busy daemon does: in steps of some dozens of tasks of different tenants.
func (b *bench) fillLog(ctx context.Context, s store.Store) error {
	began, tasks := time.Now(), b.events/perTask
	first := time.Now().Add(-24 * time.Hour)
	var pools errgroup.Group
	for p := range logPools {
		pools.Go(func() error {
			row := ledger.Pool{State: park.Active, MaxUnits: 1}
			for i := p; i < tasks; {
				row.LastAt = park.At(first.Add(24 * time.Hour / time.Duration(tasks) * time.Duration(i)))
				st := nextStep(logPool(p), &row)
				for ; len(st.Events) < perStep && i < tasks; i += logPools {
					addTaskEvents(st, i)
				}
				if err := s.Commit(ctx, st); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := pools.Wait(); err != nil {
		return err
	}
	b.logf("  %d events written in %s", b.events, time.Since(began).Round(time.Second))
	return nil
}

// addTaskEvents adds the events of a task to a step.
func addTaskEvents(st *store.Step, i int) {
	for _, a := range []park.Action{park.ActSubmit, park.ActEnqueue, park.ActStart, park.ActComplete} {
		st.Events = append(st.Events, park.Event{
			PoolID: st.PoolID, Rev: st.Row.Rev, Ord: len(st.Events), At: st.Row.LastAt, Action: a, TaskID: logTask(i),
			Tenant: logTenant(i), Units: 1, Attempt: 1, Node: "0198c0de-node",
		})
	}
}

func logPool(i int) string   { return fmt.Sprint("pool-", i%logPools) }
func logTenant(i int) string { return fmt.Sprint("tenant-", i*7919%logTenants) }
func logTask(i int) string   { return fmt.Sprintf("019af00d-%08d", i) }

// measureQueries queries over HTTP, by tenant, task and pool in turn, first with a cold cache and then with a warm one.
func (b *bench) measureQueries(ctx context.Context, name string, serve func() (*process, error), cool func() error) error {
	var cold []float64
	for range b.rounds {
		if err := cool(); err != nil {
			return err
		}
		d, err := serve()
		if err != nil {
			return err
		}
		// Only the first query of each kind has a cold cache.
		for kind := range 3 {
			took, err := b.query(ctx, d, kind, 31+kind)
			if err != nil {
				return errors.Join(err, d.stop())
			}
			cold = append(cold, ms(took))
		}
		if err := d.stop(); err != nil {
			return err
		}
	}
	d, err := serve()
	if err != nil {
		return err
	}
	defer d.stop()
	var took []time.Duration
	for i := range queryCount {
		t, err := b.query(ctx, d, i%3, i)
		if err != nil {
			return err
		}
		took = append(took, t)
	}
	slices.Sort(took)
	b.record("audit-"+name, fmt.Sprintf("p50 %.1f ms, max %.1f ms of %d queries of %d events", ms(quantile(took, 0.5)), ms(took[len(took)-1]), queryCount, b.events), ms(quantile(took, 0.99)))
	b.record("audit-"+name+"-cold", fmt.Sprintf("the slowest first query; median %.1f ms", medianOf(cold)), slices.Max(cold))
	return nil
}

func (b *bench) query(ctx context.Context, d *process, kind, i int) (time.Duration, error) {
	svc, err := client.New(client.Config{URL: d.url})
	if err != nil {
		return 0, err
	}
	defer svc.Close()
	tasks := b.events / perTask
	n := i * 7919 % tasks
	since := park.At(time.Now().Add(-24 * time.Hour * time.Duration(1000-i%900) / 1000))
	q := [3]park.AuditQuery{{Tenant: logTenant(n), Since: since}, {TaskID: logTask(n)}, {PoolID: logPool(n), Since: since}}[kind]
	q.Limit = 100
	if _, err := svc.Health(ctx); err != nil { // opens the connection
		return 0, err
	}
	began := time.Now()
	page, err := svc.Audit(ctx, q)
	took := time.Since(began)
	if want := [3]int{100, perTask, 100}[kind]; err == nil && len(page.Events) != want {
		err = fmt.Errorf("query %d of kind %d found %d events, not %d", i, kind, len(page.Events), want)
	}
	return took, err
}

// dropCache drops the files below a directory from the system's cache.
func dropCache(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_ = f.Sync()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// retention has a daemon delete a million rows under load, and compares its latencies with those of a daemon that
// deletes nothing.
func (b *bench) retention(ctx context.Context) error {
	for _, backend := range []string{"file", "postgres"} {
		if err := b.measureRetention(ctx, backend); err != nil {
			return fmt.Errorf("%s: %w", backend, err)
		}
	}
	return nil
}

const (
	retentionRate     = 400.0 // submissions a second
	retentionDuration = 20 * time.Second
)

func (b *bench) measureRetention(ctx context.Context, backend string) error {
	dsn, dir := "", b.newDir("retention")
	defer os.RemoveAll(dir)
	if backend == "postgres" {
		pg, err := startPostgres(ctx)
		if err != nil {
			return err
		}
		defer pg.Stop()
		if dsn, err = pg.Create(ctx, "retention", "template1"); err != nil {
			return err
		}
		if err := b.migrate(ctx, dsn); err != nil {
			return err
		}
	}
	if err := b.fillRows(ctx, backend, dir, dsn); err != nil {
		return err
	}
	var times [2]*measurement
	for i, retention := range []string{"0s", "10s"} {
		d, err := b.serve(ctx, dir, newSettings(dir, backend, dsn, func(s, _ settings) { s["retention"] = retention }))
		if err != nil {
			return err
		}
		l := load{urls: []string{d.url}, clients: fewClients, prefix: fmt.Sprint("r", i), rate: retentionRate}
		if times[i], err = l.drive(ctx, retentionDuration); err == nil && i == 1 {
			err = b.waitPruned(ctx, d)
		}
		if err := errors.Join(err, d.stop()); err != nil {
			return err
		}
	}
	kept, forgot := times[0], times[1]
	b.record("retention-"+backend, fmt.Sprintf("p99 %.1f ms, and %.1f ms if nothing is deleted, at %.0f submissions/s", ms(forgot.latency(0.99)), ms(kept.latency(0.99)), retentionRate),
		ms(forgot.latency(0.99))/ms(kept.latency(0.99)))
	return nil
}

// fillRows writes tasks that ended long ago, with their events and messages.
func (b *bench) fillRows(ctx context.Context, backend, dir, dsn string) (err error) {
	var s store.Store
	if backend == "file" {
		s, err = sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "parkd.db")})
	} else {
		s, err = postgres.Open(postgres.Config{DSN: dsn})
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	began := time.Now()
	row := ledger.Pool{State: park.Active, MaxUnits: 1 << 30, LastAt: park.At(began.Add(-30 * 24 * time.Hour))}
	for n := 0; n < b.parked/rowsPerTask; n += 256 {
		for _, step := range taskSteps("old", n, 256, &row) {
			if err := s.Commit(ctx, step); err != nil {
				return err
			}
		}
	}
	b.logf("  %s: %d rows written in %s", backend, b.parked, time.Since(began).Round(time.Second))
	return nil
}

// waitPruned waits until the log has no event of the old pool.
func (b *bench) waitPruned(ctx context.Context, d *process) error {
	svc, err := client.New(client.Config{URL: d.url})
	if err != nil {
		return err
	}
	began := time.Now()
	for time.Since(began) < 5*time.Minute {
		page, err := svc.Audit(ctx, park.AuditQuery{PoolID: "old", Limit: 1})
		if err != nil {
			return err
		}
		if len(page.Events) == 0 {
			b.logf("  all old events were gone %s after the load", time.Since(began).Round(time.Second))
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("the old events are still in the log")
}
