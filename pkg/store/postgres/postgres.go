// Package postgres keeps queues, mailboxes and the audit log in PostgreSQL, for one node or for many on one database.
//
// A step is one call of a function in the server (see migrations/postgres): it compares the pool's rev, applies the
// step's rows and moves the rev on, or changes nothing and returns what other nodes did. So a step costs one round
// trip and one flush, and no lock is ever held while a client thinks.
//
// Nothing depends on the state of a session, so a transaction pooler may stand between. A store can be opened while
// its server is away; every call then fails until the server is back.
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
	// callTimeout bounds one call. A server that has not answered by then is left, and looked for anew.
	callTimeout = 5 * time.Second
	// lastRetry is how often a call is repeated that failed for the connection or another transaction.
	maxRetries = 2
	retryDelay = 20 * time.Millisecond
)

// Config is what a store is made from.
type Config struct {
	// DSN is a connection string or URL, with one host or several. The parameters of pgxpool apply.
	DSN string
	// MigrateFlags are those of parkd migrate that lead to the database, for errors that name the command.
	MigrateFlags string
	Log          *slog.Logger // default: none
}

// Store is a database. It implements [store.Store] and [store.Shared].
type Store struct {
	pool            conns
	control         conns // for what nodes owe each other; see aside
	log             *slog.Logger
	catalog         atomic.Pointer[catalog] // set once the schema was found to be the right one
	noStartupParams atomic.Bool             // the server takes no settings when a connection begins
	pruneCursors    pruneCursors
	shortage        connShortage
	closeOnce       sync.Once

	migrateFlags string

	checkMu     sync.Mutex // held while the schema is looked at
	lastFailure checkFailure
}

var _ interface {
	store.Store
	store.Shared
} = (*Store)(nil)

// Open returns the store of a database. It does not connect yet: see [Store.Check].
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
		cc.Tracer = nil // it is for taking connections, not for using them
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

// Check returns an error where the server does not answer, and a *[migrations.MismatchError] where its schema is not
// the one that this program needs.
func (s *Store) Check(ctx context.Context) error {
	return reword(s.ensureReady(ctx))
}

// failure is how and when the last look at the schema failed.
type checkFailure struct {
	at  time.Time
	err error
}

// ready sees once that the schema is the right one and that new rows come after those that are there. Who has waited
// for somebody else's look takes what that one found.
func (s *Store) ensureReady(ctx context.Context) error {
	if s.catalog.Load() != nil {
		return nil
	}
	began := time.Now()
	s.checkMu.Lock()
	defer s.checkMu.Unlock()
	switch {
	case s.catalog.Load() != nil:
		return nil
	case s.lastFailure.at.After(began):
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

// do calls f, again where the connection broke or another transaction stood in the way. So whatever f does must do no
// more when it is done twice.
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
		s.log.Debug("tried again", "error", err)
		select {
		case <-time.After(retryDelay << tries):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forget has the schema looked at again where the server does not know what it was asked for: somebody may have taken
// migrations back and applied them again, and types then have other numbers. It reports whether it did.
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

// call calls a function of the server with composite arguments and returns its only result. Its error is a
// [store.ErrInDoubt] where the server may have done what it was asked, now or in an earlier call that left it in doubt.
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

// undone reports whether what failed has certainly not happened: it was never sent, or the server has refused it and
// lives on.
func certainlyFailed(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return pgconn.SafeToRetry(err)
	}
	return pg.SeverityUnlocalized == "ERROR" && pg.Code[:2] != "08" && pg.Code != "40003"
}

// ruledOut reports whether the server has looked at what it was asked and would have known it, had it done it before:
// the data were wrong, or broke a rule of the tables.
func definitelyRejected(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code[:2] == "22" || pg.Code[:2] == "23" || pg.Code[:2] == "P0")
}

// passing reports whether what failed may succeed if it is tried again at once.
func isTransient(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code[:2] {
		case "40", // a deadlock or a serialization failure
			"53", // insufficient resources
			"57", // the server goes down or comes up
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

// readOnly reports whether the server takes no writes any more, as one does that another has replaced.
func isReadOnly(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "25006"
}

// Close closes the connections. What is asked for later is refused.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.pool.Close()
		s.control.Close()
	})
	return nil
}
