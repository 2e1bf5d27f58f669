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
	_ "modernc.org/sqlite" // what the raw inserts go through

	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

const (
	few  = 64
	many = 256
	// perBatch is how many tasks a batch has.
	perBatch = 100
	// batchClients send batches at once.
	batchClients = 8
)

func self() string {
	path, err := os.Executable()
	if err != nil {
		fatal(err)
	}
	return path
}

func (b *bench) memory(ctx context.Context) error {
	got, err := b.alternate(ctx,
		b.bareRun(few),
		b.parkdRun("memory", "in_memory", 1, load{clients: few}, nil),
		b.parkdRun("unnamed", "in_memory", 1, load{clients: few, noIDs: true}, nil),
		b.parkdRun("batch", "in_memory", 1, load{clients: batchClients, batch: perBatch}, nil),
	)
	if err != nil {
		return err
	}
	bare, mem := got["bare"], got["memory"]
	b.note("memory", beside("parkd", mem, "bare", bare), ratios(mem, bare)...)
	b.note("memory-unnamed", beside("parkd", got["unnamed"], "bare", bare), ratios(got["unnamed"], bare)...)
	slow := make([]float64, len(mem))
	for i := range mem {
		slow[i] = ms(mem[i].at(0.99)) / ms(bare[i].at(0.99))
	}
	b.note("memory-p99", fmt.Sprintf("p99 %.1f ms, bare %.1f ms", medianOf(times(mem, 0.99)), medianOf(times(bare, 0.99))), slow...)
	b.note("batch-memory", beside("batches", got["batch"], "single", mem), ratios(got["batch"], mem)...)
	return nil
}

func (b *bench) file(ctx context.Context) error {
	got, err := b.alternate(ctx,
		b.bareRun(many),
		b.parkdRun("file", "file", 1, load{clients: many}, nil),
		b.parkdRun("batch", "file", 1, load{clients: batchClients, batch: perBatch}, nil),
		contestant{"raw", b.rawSQLite},
	)
	if err != nil {
		return err
	}
	b.note("file", beside("parkd", got["file"], "bare", got["bare"]), ratios(got["file"], got["bare"])...)
	b.note("batch-file", beside("batches", got["batch"], "single", got["file"]), ratios(got["batch"], got["file"])...)
	b.note("raw-file", raw(got["file"], got["raw"]), ratios(got["file"], got["raw"])...)
	return nil
}

// rowsPerTask is what a task that starts at once writes: its own row, twice, three events, a message.
const rowsPerTask = 6

func raw(parkd, raw []*outcome) string {
	return fmt.Sprintf("parkd %.0f tasks/s, that is %.0f rows/s; raw batched inserts of such a row into the same database %.0f rows/s",
		rate(parkd), rowsPerTask*rate(parkd), rate(raw))
}

const rawColumns = "id text, tenant text, status text, priority bigint, units bigint, at bigint, mailbox text, payload text"

const rawPayload = `{"durationMs":0,"result":{"text":"a hundred bytes of an answer, so that the whole is about as long as a prompt's would be"}}`

// rawSQLite inserts rows as large as a submission, a hundred a transaction, into a table with one index.
func (b *bench) rawSQLite(ctx context.Context, _ int) (*outcome, error) {
	path := filepath.Join(b.fresh("raw"), "raw.db")
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
	for time.Since(began) < b.length {
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
	return &outcome{tasks: n, took: time.Since(began)}, nil
}

func (b *bench) postgres(ctx context.Context) error {
	pg, err := startPostgres(ctx)
	if err != nil {
		return err
	}
	defer pg.Stop()
	got, err := b.alternate(ctx,
		b.bareRun(many),
		b.parkdRun("one", "postgres", 1, load{clients: many}, pg),
		b.parkdRun("three", "postgres", 3, load{clients: many}, pg),
		b.parkdRun("batch", "postgres", 1, load{clients: batchClients, batch: perBatch}, pg),
		contestant{"raw", func(ctx context.Context, round int) (*outcome, error) { return b.rawPostgres(ctx, pg) }},
		contestant{"river", func(ctx context.Context, round int) (*outcome, error) { return b.riverRun(ctx, pg, byDefault(), many) }},
	)
	if err != nil {
		return err
	}
	one := got["one"]
	b.note("postgres", beside("parkd", one, "bare", got["bare"]), ratios(one, got["bare"])...)
	b.note("postgres-river", fmt.Sprintf("parkd %.0f tasks/s, River %.0f jobs/s inserted and worked", rate(one), rate(got["river"])), ratios(one, got["river"])...)
	b.note("postgres-three", beside("three", got["three"], "one", one), ratios(got["three"], one)...)
	b.note("batch-postgres", beside("batches", got["batch"], "single", one), ratios(got["batch"], one)...)
	b.note("raw-postgres", raw(one, got["raw"]), ratios(one, got["raw"])...)
	return nil
}

// startPostgres starts a server with the durability that it has by default.
func startPostgres(ctx context.Context) (*server.Server, error) {
	return server.Start(ctx, "shared_buffers=1GB", "max_connections=200", "max_wal_size=4GB")
}

// rawPostgres inserts rows as large as a submission, a hundred a statement, over two connections.
func (b *bench) rawPostgres(ctx context.Context, pg *server.Server) (*outcome, error) {
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
			for time.Since(began) < b.length {
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
	return &outcome{tasks: counts[0] + counts[1], took: time.Since(began)}, err
}
