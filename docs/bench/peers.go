package main

// Other systems: River on the same Postgres, and asynq on Redis.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"golang.org/x/sync/errgroup"

	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// jobArgs is a job as large as a submission.
type jobArgs struct {
	Sent    int64  `json:"sent"`
	Payload string `json:"payload"`
}

func (jobArgs) Kind() string { return "bench" }

// tuning is the configuration of a River client.
type tuning struct {
	workers  int
	cooldown time.Duration
}

func defaultTuning() tuning { return tuning{workers: 100} }
func fastTuning() tuning    { return tuning{workers: 2000, cooldown: 2 * time.Millisecond} }

// riverClient is a running River client.
type riverClient struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	worked atomic.Int64
	began  chan time.Time // of jobs, if a caller receives
}

func startRiver(ctx context.Context, pg *server.Server, t tuning) (*riverClient, error) {
	dsn, err := pg.Create(ctx, fmt.Sprintf("river%d", time.Now().UnixNano()), "template1")
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = 32
	r := &riverClient{began: make(chan time.Time, 1)}
	if r.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, err
	}
	driver := riverpgxv5.New(r.pool)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return nil, err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[jobArgs]) error {
		r.worked.Add(1)
		select {
		case r.began <- time.Now():
		default:
		}
		return nil
	}))
	r.client, err = river.NewClient(driver, &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: t.workers}}, Workers: workers,
		FetchCooldown: t.cooldown, Logger: quiet,
	})
	if err != nil {
		return nil, err
	}
	return r, r.client.Start(ctx)
}

func (r *riverClient) stop(ctx context.Context) {
	_ = r.client.StopAndCancel(ctx)
	r.pool.Close()
}

// riverRun inserts single jobs from many callers while they are worked, and waits until all are done.
func (b *bench) riverRun(ctx context.Context, pg *server.Server, t tuning, callers int) (*measurement, error) {
	r, err := startRiver(ctx, pg, t)
	if err != nil {
		return nil, err
	}
	defer r.stop(context.WithoutCancel(ctx))
	began := time.Now()
	var inserted atomic.Int64
	group, inserting := errgroup.WithContext(ctx)
	for range callers {
		group.Go(func() error {
			for time.Since(began) < b.duration {
				if _, err := r.client.Insert(inserting, jobArgs{Payload: rawPayload}, nil); err != nil {
					return err
				}
				inserted.Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for r.worked.Load() < inserted.Load() {
		if time.Since(began) > time.Minute {
			return nil, errors.New("River did not finish")
		}
		time.Sleep(2 * time.Millisecond)
	}
	return &measurement{tasks: int(inserted.Load()), elapsed: time.Since(began)}, nil
}

// riverBatches inserts a hundred jobs in each call.
func (b *bench) riverBatches(ctx context.Context, pg *server.Server) (*measurement, error) {
	r, err := startRiver(ctx, pg, fastTuning())
	if err != nil {
		return nil, err
	}
	defer r.stop(context.WithoutCancel(ctx))
	params := make([]river.InsertManyParams, perBatch)
	for i := range params {
		params[i].Args = jobArgs{Payload: rawPayload}
	}
	began := time.Now()
	var inserted atomic.Int64
	group, inserting := errgroup.WithContext(ctx)
	for range batchClients {
		group.Go(func() error {
			for time.Since(began) < b.duration {
				n, err := r.client.InsertManyFast(inserting, params)
				if err != nil {
					return err
				}
				inserted.Add(int64(n))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for r.worked.Load() < inserted.Load() {
		if time.Since(began) > time.Minute {
			return nil, errors.New("River did not finish")
		}
		time.Sleep(2 * time.Millisecond)
	}
	return &measurement{tasks: int(inserted.Load()), elapsed: time.Since(began)}, nil
}

// riverIdle returns the times from an insertion to the start of the job while River is idle, sorted.
func riverIdle(ctx context.Context, pg *server.Server, t tuning, samples int) ([]time.Duration, error) {
	r, err := startRiver(ctx, pg, t)
	if err != nil {
		return nil, err
	}
	defer r.stop(context.WithoutCancel(ctx))
	var took []time.Duration
	for range samples {
		time.Sleep(idlePause())
		sent := time.Now()
		if _, err := r.client.Insert(ctx, jobArgs{Payload: rawPayload}, nil); err != nil {
			return nil, err
		}
		select {
		case at := <-r.began:
			took = append(took, at.Sub(sent))
		case <-time.After(10 * time.Second):
			return nil, errors.New("River did not start a job")
		}
	}
	slices.Sort(took)
	return took, nil
}

// peers measures the other systems.
func (b *bench) peers(ctx context.Context) error {
	pg, err := startPostgres(ctx)
	if err != nil {
		return err
	}
	defer pg.Stop()
	got, err := b.alternate(ctx,
		variant{"tuned", func(ctx context.Context, _ int) (*measurement, error) {
			return b.riverRun(ctx, pg, fastTuning(), manyClients)
		}},
		variant{"batches", func(ctx context.Context, _ int) (*measurement, error) { return b.riverBatches(ctx, pg) }},
		variant{"parkd", b.parkdRun("one", "postgres", 1, load{clients: manyClients}, pg).run},
		variant{"parkd-batches", b.parkdRun("batch", "postgres", 1, load{clients: batchClients, batch: perBatch}, pg).run},
	)
	if err != nil {
		return err
	}
	b.record("river-tuned", fmt.Sprintf("parkd %.0f tasks/s over HTTP, River tuned (2 ms, 2,000 workers) %.0f jobs/s as a library", medianRate(got["parkd"]), medianRate(got["tuned"])), rateRatios(got["parkd"], got["tuned"])...)
	b.record("river-batches", fmt.Sprintf("parkd %.0f tasks/s, River InsertManyFast of 100, inserted and run %.0f jobs/s", medianRate(got["parkd-batches"]), medianRate(got["batches"])), rateRatios(got["parkd-batches"], got["batches"])...)
	return b.asynq(ctx)
}

// asynq enqueues and works tasks on Redis, once without persistence and once with every write flushed to the disk,
// which a durable 202 requires.
func (b *bench) asynq(ctx context.Context) error {
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		b.logf("redis-server is not installed: asynq is not measured")
		return nil
	}
	got, err := b.alternate(ctx,
		variant{"asynq", func(ctx context.Context, _ int) (*measurement, error) { return b.asynqRun(ctx, redis, "no") }},
		variant{"asynq-aof", func(ctx context.Context, _ int) (*measurement, error) { return b.asynqRun(ctx, redis, "yes") }},
		variant{"memory", b.parkdRun("memory", "in_memory", 1, load{clients: manyClients}, nil).run},
		variant{"file", b.parkdRun("file", "file", 1, load{clients: manyClients}, nil).run},
	)
	if err != nil {
		return err
	}
	b.record("asynq", fmt.Sprintf("parkd in memory %.0f tasks/s over HTTP, asynq on Redis without persistence %.0f/s as a library", medianRate(got["memory"]), medianRate(got["asynq"])), rateRatios(got["memory"], got["asynq"])...)
	b.record("asynq-aof", fmt.Sprintf("parkd on a file %.0f tasks/s over HTTP, asynq on Redis with appendfsync always %.0f/s as a library", medianRate(got["file"]), medianRate(got["asynq-aof"])), rateRatios(got["file"], got["asynq-aof"])...)
	return nil
}

func (b *bench) asynqRun(ctx context.Context, redis, appendonly string) (*measurement, error) {
	dir := b.newDir("redis")
	socket := dir + "/redis.sock"
	c := exec.Command(redis, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", appendonly, "--appendfsync", "always")
	if err := c.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		_ = os.RemoveAll(dir)
	}()
	for i := 0; ; i++ {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			break
		}
		if i > 1000 {
			return nil, errors.New("Redis did not start")
		}
		time.Sleep(10 * time.Millisecond)
	}
	at := asynq.RedisClientOpt{Network: "unix", Addr: socket, PoolSize: 64}
	var worked, sent atomic.Int64
	srv := asynq.NewServer(at, asynq.Config{Concurrency: 100, LogLevel: asynq.FatalLevel})
	if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { worked.Add(1); return nil })); err != nil {
		return nil, err
	}
	defer srv.Shutdown()
	client := asynq.NewClient(at)
	defer client.Close()
	began := time.Now()
	var group errgroup.Group
	for range fewClients {
		group.Go(func() error {
			for time.Since(began) < b.duration {
				if _, err := client.EnqueueContext(ctx, asynq.NewTask("bench", []byte(rawPayload))); err != nil {
					return err
				}
				sent.Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for worked.Load() < sent.Load() && time.Since(began) < time.Minute {
		time.Sleep(2 * time.Millisecond)
	}
	return &measurement{tasks: int(worked.Load()), elapsed: time.Since(began)}, nil
}
