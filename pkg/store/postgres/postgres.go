// Package postgres keeps queues, mailboxes and the audit log in PostgreSQL, for one node or for many nodes on one
// database.
//
// A step is one call of a function in the server (see migrations/postgres). The function compares the pool's rev. If
// the rev is the expected one, it applies the step and sets the next rev. Otherwise it changes nothing and returns what
// other nodes did. So a step costs one round trip and one flush, and no lock is held while a client computes.
//
// Nothing depends on the state of a session, so a transaction pooler may be used. A store can be opened while its
// server is down. Then all calls fail until the server is up.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	// callTimeout limits one call. If the server has not answered by then, the connection is closed.
	callTimeout = 5 * time.Second
	// maxRetries is how often a call is repeated that failed because of the connection or of another transaction.
	maxRetries = 2
	retryDelay = 20 * time.Millisecond
)

// Config is the configuration of a store.
type Config struct {
	// DSN is a connection string or URL, with one host or several. It may have the parameters of pgxpool.
	DSN string
	// MigrateFlags are the flags with which parkd migrate finds the database. Errors name them.
	MigrateFlags string
	Log          *slog.Logger // default: none
}

// Store is a connection to a database. It implements [store.Store] and [store.Shared].
type Store struct {
	pool            conns
	control         conns // for messages between nodes; see controlConfig
	log             *slog.Logger
	catalog         atomic.Pointer[catalog] // nil until the schema was checked
	noStartupParams atomic.Bool             // the server refuses settings at the start of a connection
	pruneCursors    pruneCursors
	shortage        connShortage
	closeOnce       sync.Once

	migrateFlags string

	checkMu     sync.Mutex // held during a check of the schema
	lastFailure checkFailure
}

var _ interface {
	store.Store
	store.Shared
} = (*Store)(nil)

// Open returns a store. It does not connect yet: see [Store.Check].
func Open(c Config) (*Store, error) {
	cfg, err := parse(c.DSN)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: c.Log, migrateFlags: c.MigrateFlags}
	s.shortage.byDSN = reserve(cfg)
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		cc.Tracer = nil // the tracer is for the pool only
		s.applySettings(cc)
		attachSession(cc)
		return nil
	}
	s.pool.store, s.control.store = s, s
	cfg.ConnConfig.Tracer = newAcquireQueue(s)
	if s.pool.Pool, err = pgxpool.NewWithConfig(context.Background(), cfg); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if s.control.Pool, err = pgxpool.NewWithConfig(context.Background(), controlConfig(cfg, s)); err != nil {
		s.pool.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	return s, nil
}

// Check returns an error if the server does not answer. If the schema is not the one that this program needs, the error
// is a *[migrations.MismatchError].
func (s *Store) Check(ctx context.Context) error {
	return reword(s.ensureReady(ctx))
}

// checkFailure is the result of the last failed check of the schema.
type checkFailure struct {
	at  time.Time
	err error
}

// ensureReady checks once that the schema is the right one, and has new rows numbered after all existing ones. A call
// that waited for the check of another call returns that check's result.
func (s *Store) ensureReady(ctx context.Context) error {
	if s.catalog.Load() != nil {
		return nil
	}
	started := time.Now()
	s.checkMu.Lock()
	defer s.checkMu.Unlock()
	switch {
	case s.catalog.Load() != nil:
		return nil
	case s.lastFailure.at.After(started):
		return s.lastFailure.err
	}
	err := s.checkSchema(ctx)
	if s.dropSettings(err) {
		err = s.checkSchema(ctx)
	}
	if err != nil && ctx.Err() == nil {
		s.lastFailure = checkFailure{time.Now(), err}
	}
	return err
}

func (s *Store) checkSchema(ctx context.Context) error {
	db := stdlib.OpenDBFromPool(s.pool.Pool)
	defer db.Close()
	schema, err := migrations.New(db, migrations.Postgres)
	if err != nil {
		return err
	}
	schema.Flags = s.migrateFlags
	if err := schema.Check(ctx); err != nil {
		return err
	}
	if err := checkSettings(ctx, db); err != nil {
		return err
	}
	n := &catalog{oid: make(map[string]uint32)}
	if err := s.pool.QueryRow(ctx, readSchema).Scan(&n.schema); err != nil {
		return fmt.Errorf("look up the schema: %w", err)
	}
	if _, err := s.pool.Exec(ctx, n.qualify("SELECT pl_rebase()")); err != nil {
		return fmt.Errorf("number rows: %w", err)
	}
	for _, name := range []string{"pl_step", "pl_job", "pl_change", "pl_message", "pl_event", "pl_parcel"} {
		var oid uint32
		if err := s.pool.QueryRow(ctx, "SELECT to_regtype($1)::oid", n.qualify(name)).Scan(&oid); err != nil {
			return fmt.Errorf("look up type %s: %w", name, err)
		}
		n.oid[name] = oid
	}
	s.catalog.Store(n)
	return nil
}

// readSchema returns the schema of the tables.
const readSchema = "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n" +
	" ON n.oid = c.relnamespace WHERE c.oid = 'pl_pools'::regclass::oid"

// withRetry runs call, and again if the connection broke or another transaction was in the way. So running call twice
// must have the same effect as running it once.
func (s *Store) withRetry(ctx context.Context, call func(context.Context) error) error {
	for tries := 0; ; tries++ {
		err := s.attempt(ctx, call)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case tries == maxRetries || !isTransient(err) && !s.forgetSchema(err):
			return reword(err)
		}
		if s.dropSettings(err) || isReadOnly(err) {
			s.pool.Reset()
			s.control.Reset()
		}
		s.log.Debug("retrying", "error", err)
		select {
		case <-time.After(retryDelay << tries):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forgetSchema has the schema checked again if the server does not know an object of a statement: after a rollback and
// a new migration types have other OIDs. It reports whether it did so.
func (s *Store) forgetSchema(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code[:2] != "42" && pg.Code != "XX000" {
		return false
	}
	s.catalog.Store(nil)
	return true
}

func (s *Store) attempt(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.ensureReady(ctx); err != nil {
		return err
	}
	return call(ctx)
}

// callFunction calls a function of the server with composite arguments and returns its only result. The error is a
// [store.ErrInDoubt] if the server may have executed the function, now or in an earlier call that was in doubt.
func (s *Store) callFunction(ctx context.Context, query string, inDoubt *bool, args func(*catalog) ([][]byte, error)) (reply []byte, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		n := s.catalog.Load()
		values, err := args(n)
		if err != nil {
			return err
		}
		formats := make([]int16, len(values))
		for i := range formats {
			formats[i] = pgx.BinaryFormatCode
		}
		sent := false
		err = s.uncancelled(ctx, func(c *pgx.Conn) error {
			sent = true
			res := c.PgConn().ExecParams(ctx, n.qualify(query), values, nil, formats, []int16{pgx.BinaryFormatCode}).Read()
			if res.Err == nil {
				reply = res.Rows[0][0]
			}
			return res.Err
		})
		if sent {
			*inDoubt = err != nil && (*inDoubt && !definitelyRejected(err) || !certainlyFailed(err))
		}
		return err
	})
	if err != nil && *inDoubt {
		err = fmt.Errorf("%w: %w", store.ErrInDoubt, err)
	}
	return reply, err
}

// certainlyFailed reports whether the call has certainly had no effect: it was never sent, or the server refused it and
// continues to run.
func certainlyFailed(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return pgconn.SafeToRetry(err)
	}
	return pg.SeverityUnlocalized == "ERROR" && pg.Code[:2] != "08" && pg.Code != "40003"
}

// definitelyRejected reports whether the server has executed the function up to an error in the data or in a
// constraint. An earlier execution of the same step would have been recognized before that error.
func definitelyRejected(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code[:2] == "22" || pg.Code[:2] == "23" || pg.Code[:2] == "P0")
}

// isTransient reports whether a failed call may succeed if it is repeated at once.
func isTransient(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code[:2] {
		case "40", // a deadlock or a serialization failure
			"53", // insufficient resources
			"57", // the server shuts down or starts
			"08": // the connection
			return true
		}
		return isReadOnly(err)
	}
	if _, ok := errors.AsType[*migrations.MismatchError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*UnfitError](err); ok {
		return false
	}
	return !errors.Is(err, errClosed) && !errors.Is(err, errTooLarge) && !errors.Is(err, pgx.ErrNoRows)
}

var errClosed = errors.New("the store is closed")

// isReadOnly reports whether the server accepts no writes, as a former primary does.
func isReadOnly(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "25006"
}

// Close closes the connections. Later calls are refused.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.pool.Close()
		s.control.Close()
	})
	return nil
}
