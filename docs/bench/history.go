package main

// A long history: questions to an audit log of ten million events, and forgetting a million rows.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
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
	questions  = 600
)

func (b *bench) audit(ctx context.Context) error {
	return errors.Join(b.auditFile(ctx), b.auditPostgres(ctx))
}

func (b *bench) auditFile(ctx context.Context) error {
	dir := b.fresh("audit")
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
	return b.questioned(ctx, "file", func() (*process, error) { return b.serve(ctx, dir, configured(dir, "file", "", keep)) },
		func() error { return forget(dir) })
}

// keep has nothing pruned: the log is of a day that may be long ago.
func keep(s, _ settings) { s["retention"] = "0s" }

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
	dir := b.fresh("audit")
	return b.questioned(ctx, "postgres", func() (*process, error) { return b.serve(ctx, dir, configured(dir, "postgres", dsn, keep)) },
		func() error {
			if err := checkpoint(ctx, dsn); err != nil {
				return err
			}
			pg.Quit()
			return errors.Join(forget(host), pg.Run(ctx))
		})
}

// checkpoint has a server write down all it has, so that it need not replay its log when it starts again.
func checkpoint(ctx context.Context, dsn string) error { return execute(ctx, dsn, "CHECKPOINT") }

// settle has a server do what a load of rows would else bring on at some time after it.
func settle(ctx context.Context, dsn string) error {
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

// fillLog writes the events of a day as a busy daemon does: steps of some dozens of tasks, their tenants mixed.
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
					logLife(st, i)
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
	b.say("  %d events written in %s", b.events, time.Since(began).Round(time.Second))
	return nil
}

// logLife adds the events of a task to a step.
func logLife(st *store.Step, i int) {
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

// questioned asks over HTTP, by tenant, task and pool in turn, warm and with nothing of the files in memory.
func (b *bench) questioned(ctx context.Context, name string, serve func() (*process, error), cool func() error) error {
	var cold []float64
	for range b.rounds {
		if err := cool(); err != nil {
			return err
		}
		d, err := serve()
		if err != nil {
			return err
		}
		// The first question of each kind meets a cold cache.
		for kind := range 3 {
			took, err := b.question(ctx, d, kind, 31+kind)
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
	for i := range questions {
		t, err := b.question(ctx, d, i%3, i)
		if err != nil {
			return err
		}
		took = append(took, t)
	}
	slices.Sort(took)
	b.note("audit-"+name, fmt.Sprintf("p50 %.1f ms, max %.1f ms of %d questions to %d events", ms(quantile(took, 0.5)), ms(took[len(took)-1]), questions, b.events), ms(quantile(took, 0.99)))
	b.note("audit-"+name+"-cold", fmt.Sprintf("the slowest first question; median %.1f ms", medianOf(cold)), slices.Max(cold))
	return nil
}

func (b *bench) question(ctx context.Context, d *process, kind, i int) (time.Duration, error) {
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
	if _, err := svc.Health(ctx); err != nil { // the connection is there already
		return 0, err
	}
	began := time.Now()
	page, err := svc.Audit(ctx, q)
	took := time.Since(began)
	if want := [3]int{100, perTask, 100}[kind]; err == nil && len(page.Events) != want {
		err = fmt.Errorf("question %d of kind %d found %d events, not %d", i, kind, len(page.Events), want)
	}
	return took, err
}

// forget drops the files below a folder from the system's cache.
func forget(dir string) error {
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

// retention has a daemon forget a million rows under load, and compares its submissions with those of one that keeps
// everything.
func (b *bench) retention(ctx context.Context) error {
	for _, backend := range []string{"file", "postgres"} {
		if err := b.forgetting(ctx, backend); err != nil {
			return fmt.Errorf("%s: %w", backend, err)
		}
	}
	return nil
}

const (
	underLoad = 400.0 // submissions a second
	observed  = 20 * time.Second
)

func (b *bench) forgetting(ctx context.Context, backend string) error {
	dsn, dir := "", b.fresh("retention")
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
	var times [2]*outcome
	for i, retention := range []string{"0s", "10s"} {
		d, err := b.serve(ctx, dir, configured(dir, backend, dsn, func(s, _ settings) { s["retention"] = retention }))
		if err != nil {
			return err
		}
		l := load{urls: []string{d.url}, clients: few, prefix: fmt.Sprint("r", i), rate: underLoad}
		if times[i], err = l.drive(ctx, observed); err == nil && i == 1 {
			err = b.pruned(ctx, d)
		}
		if err := errors.Join(err, d.stop()); err != nil {
			return err
		}
	}
	kept, forgot := times[0], times[1]
	b.note("retention-"+backend, fmt.Sprintf("p99 %.1f ms, and %.1f ms where nothing is deleted, at %.0f submissions/s", ms(forgot.at(0.99)), ms(kept.at(0.99)), underLoad),
		ms(forgot.at(0.99))/ms(kept.at(0.99)))
	return nil
}

// fillRows writes ended tasks of long ago, with their events and messages.
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
		for _, step := range lives("old", n, 256, &row) {
			if err := s.Commit(ctx, step); err != nil {
				return err
			}
		}
	}
	b.say("  %s: %d rows written in %s", backend, b.parked, time.Since(began).Round(time.Second))
	return nil
}

// pruned waits until nothing of the old pool is in the log.
func (b *bench) pruned(ctx context.Context, d *process) error {
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
			b.say("  all old events were gone %s after the load", time.Since(began).Round(time.Second))
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("the old events are still there (%d)", http.StatusOK)
}
