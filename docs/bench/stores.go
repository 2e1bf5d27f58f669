package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite" // for the raw inserts

	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

const (
	fewClients  = 64
	manyClients = 256
	// perBatch is how many tasks a batch has.
	perBatch = 100
	// batchClients send batches at once.
	batchClients = 8
)

func ownPath() string {
	path, err := os.Executable()
	if err != nil {
		fatal(err)
	}
	return path
}

func (b *bench) memory(ctx context.Context) error {
	got, err := b.alternate(ctx,
		b.bareRun(fewClients),
		b.parkdRun("memory", "in_memory", 1, load{clients: fewClients}, nil),
		b.parkdRun("unnamed", "in_memory", 1, load{clients: fewClients, noIDs: true}, nil),
		b.parkdRun("batch", "in_memory", 1, load{clients: batchClients, batch: perBatch}, nil),
	)
	if err != nil {
		return err
	}
	bare, mem := got["bare"], got["memory"]
	b.record("memory", describeRates("parkd", mem, "bare", bare), rateRatios(mem, bare)...)
	b.record("memory-unnamed", describeRates("parkd", got["unnamed"], "bare", bare), rateRatios(got["unnamed"], bare)...)
	slow := make([]float64, len(mem))
	for i := range mem {
		slow[i] = ms(mem[i].latency(0.99)) / ms(bare[i].latency(0.99))
	}
	b.record("memory-p99", fmt.Sprintf("p99 %.1f ms, bare %.1f ms", medianOf(latencyQuantiles(mem, 0.99)), medianOf(latencyQuantiles(bare, 0.99))), slow...)
	b.record("batch-memory", describeRates("batches", got["batch"], "single", mem), rateRatios(got["batch"], mem)...)
	return nil
}

func (b *bench) file(ctx context.Context) error {
	got, err := b.alternate(ctx,
		b.bareRun(manyClients),
		b.parkdRun("file", "file", 1, load{clients: manyClients}, nil),
		b.parkdRun("batch", "file", 1, load{clients: batchClients, batch: perBatch}, nil),
		variant{"raw", b.rawSQLite},
	)
	if err != nil {
		return err
	}
	b.record("file", describeRates("parkd", got["file"], "bare", got["bare"]), rateRatios(got["file"], got["bare"])...)
	b.record("batch-file", describeRates("batches", got["batch"], "single", got["file"]), rateRatios(got["batch"], got["file"])...)
	b.record("raw-file", describeRaw(got["file"], got["raw"]), rateRatios(got["file"], got["raw"])...)
	return nil
}

// rowsPerTask is how many rows a task that starts at once writes: its own row twice, three events, and a message.
const rowsPerTask = 6

func describeRaw(parkd, raw []*measurement) string {
	return fmt.Sprintf("parkd %.0f tasks/s, which is %.0f rows/s; raw batched inserts of such a row into the same database %.0f rows/s",
		medianRate(parkd), rowsPerTask*medianRate(parkd), medianRate(raw))
}

const rawColumns = "id text, tenant text, status text, priority bigint, units bigint, at bigint, mailbox text, payload text"

const rawPayload = `{"durationMs":0,"result":{"text":"a hundred bytes of an answer, so that the whole is about as long as a prompt's would be"}}`

// rawSQLite inserts rows as large as a submission, a hundred in each transaction, into a table with one index.
func (b *bench) rawSQLite(ctx context.Context, _ int) (*measurement, error) {
	path := filepath.Join(b.newDir("raw"), "raw.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=page_size(8192)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE raw (seq INTEGER PRIMARY KEY, "+rawColumns+"); CREATE UNIQUE INDEX raw_id ON raw (id)"); err != nil {
		return nil, err
	}
	began, n := time.Now(), 0
	for time.Since(began) < b.duration {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		s, err := tx.PrepareContext(ctx, "INSERT INTO raw (id, tenant, status, priority, units, at, mailbox, payload) VALUES (?,?,?,?,?,?,?,?)")
		if err != nil {
			return nil, err
		}
		for range perBatch {
			n++
			if _, err := s.ExecContext(ctx, fmt.Sprint("task-", n), "tenant-1", "running", 2, 1, time.Now().UnixMicro(), "user-1", rawPayload); err != nil {
				return nil, err
			}
		}
		if err := tx.Commit(); err != nil {
			return nil, err
		}
	}
	return &measurement{tasks: n, elapsed: time.Since(began)}, nil
}

func (b *bench) postgres(ctx context.Context) error {
	pg, err := startPostgres(ctx)
	if err != nil {
		return err
	}
	defer pg.Stop()
	got, err := b.alternate(ctx,
		b.bareRun(manyClients),
		b.parkdRun("one", "postgres", 1, load{clients: manyClients}, pg),
		b.parkdRun("three", "postgres", 3, load{clients: manyClients}, pg),
		b.parkdRun("batch", "postgres", 1, load{clients: batchClients, batch: perBatch}, pg),
		variant{"raw", func(ctx context.Context, round int) (*measurement, error) { return b.rawPostgres(ctx, pg) }},
		variant{"river", func(ctx context.Context, round int) (*measurement, error) {
			return b.riverRun(ctx, pg, defaultTuning(), manyClients)
		}},
	)
	if err != nil {
		return err
	}
	one := got["one"]
	b.record("postgres", describeRates("parkd", one, "bare", got["bare"]), rateRatios(one, got["bare"])...)
	b.record("postgres-river", fmt.Sprintf("parkd %.0f tasks/s, River %.0f jobs/s inserted and run", medianRate(one), medianRate(got["river"])), rateRatios(one, got["river"])...)
	b.record("postgres-three", describeRates("three", got["three"], "one", one), rateRatios(got["three"], one)...)
	b.record("batch-postgres", describeRates("batches", got["batch"], "single", one), rateRatios(got["batch"], one)...)
	b.record("raw-postgres", describeRaw(one, got["raw"]), rateRatios(one, got["raw"])...)
	return nil
}

// startPostgres starts a server with its default durability.
func startPostgres(ctx context.Context) (*server.Server, error) {
	return server.Start(ctx, "shared_buffers=1GB", "max_connections=200", "max_wal_size=4GB")
}

// rawPostgres inserts rows as large as a submission, a hundred in each statement, over two connections.
func (b *bench) rawPostgres(ctx context.Context, pg *server.Server) (*measurement, error) {
	dsn, err := pg.Create(ctx, fmt.Sprintf("raw%d", time.Now().UnixNano()), "template1")
	if err != nil {
		return nil, err
	}
	const connections = 2
	conns := make([]*pgx.Conn, connections)
	for i := range conns {
		if conns[i], err = pgx.Connect(ctx, dsn); err != nil {
			return nil, err
		}
		defer conns[i].Close(context.WithoutCancel(ctx))
	}
	if _, err := conns[0].Exec(ctx, "CREATE TABLE raw (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "+rawColumns+"); CREATE UNIQUE INDEX ON raw (id)"); err != nil {
		return nil, err
	}
	began := time.Now()
	counts := make([]int, connections)
	group, ctx := errgroup.WithContext(ctx)
	for c, conn := range conns {
		group.Go(func() error {
			ids := make([]string, perBatch)
			for time.Since(began) < b.duration {
				for i := range ids {
					ids[i] = fmt.Sprintf("task-%d-%d", c, counts[c])
					counts[c]++
				}
				_, err := conn.Exec(ctx, `INSERT INTO raw (id, tenant, status, priority, units, at, mailbox, payload)
					SELECT t, 'tenant-1', 'running', 2, 1, $2, 'user-1', $3 FROM unnest($1::text[]) AS t`, ids, time.Now().UnixMicro(), rawPayload)
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return &measurement{tasks: counts[0] + counts[1], elapsed: time.Since(began)}, err
}
