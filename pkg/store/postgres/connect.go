package postgres

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// How connections are made, and what is asked of them.

const (
	connectTimeout = 2 * time.Second
	// application is what connections are called, unless the DSN has another name for them.
	defaultAppName = "parkd"
	// ready is how many connections are kept: to make one takes as long as a few steps.
	minConns = 2
	// apart is how many connections there are for what nodes tell each other: two for signs of life, and one for hints.
	reservedConns = 3
	// enough is how many the DSN has to allow for some to be set apart.
	minToReserve = 2 * reservedConns
	// freshness is how long after its last use a connection is used again without a look at it.
	pingAfterIdle = time.Second
	// The server's own limits are for nodes that freeze in the middle of something: a node that lives gives up before.
	statementTimeout = 2 * callTimeout
	lockTimeout      = callTimeout
	idleTimeout      = 2 * callTimeout
)

func parse(dsn string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, dsnError(err)
	}
	cc := cfg.ConnConfig
	if cc.ConnectTimeout == 0 {
		cc.ConnectTimeout = connectTimeout
	}
	// A host that is gone without a word is noticed within half a minute even where nothing is asked of it.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	cc.DialFunc = dialer.DialContext
	if cc.ValidateConnect == nil {
		cc.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if cc.RuntimeParams["application_name"] == "" {
		cc.RuntimeParams["application_name"] = defaultAppName
	}
	if cc.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		// Prepared statements are state of a session.
		cc.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if !setsMaxConns(dsn) {
		cfg.MaxConns = max(cfg.MaxConns, 8, 2*int32(runtime.NumCPU())) + reservedConns
	}
	cfg.MinConns = min(max(cfg.MinConns, minConns), cfg.MaxConns)
	cfg.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool {
		return p.IdleDuration > pingAfterIdle || hasPendingInput(p.Conn.PgConn().Conn())
	}
	return cfg, nil
}

// bounded reports whether the DSN says how many connections there may be.
func setsMaxConns(dsn string) bool {
	cc, err := pgx.ParseConfig(dsn)
	return err == nil && cc.RuntimeParams["pool_max_conns"] != ""
}

// share takes what is set apart from the connections of a configuration. It reports whether they are too few for that.
func reserve(cfg *pgxpool.Config) (few bool) {
	if cfg.MaxConns < minToReserve {
		return true
	}
	cfg.MaxConns -= reservedConns
	cfg.MinConns = min(cfg.MinConns, cfg.MaxConns)
	return false
}

// aside returns the configuration of connections for what nodes tell each other all the time. Apart from it steps go
// over the connection that the last one went over, whose session in the server has all at hand that a step needs.
func controlConfig(cfg *pgxpool.Config, s *Store) *pgxpool.Config {
	cfg = cfg.Copy()
	cfg.ConnConfig.Tracer = newAcquireQueue(s)
	cfg.MinConns, cfg.MinIdleConns, cfg.MaxConns = 0, 0, reservedConns-1
	return cfg
}

// limits are settings that a connection begins with, unless the DSN has them.
func sessionTimeouts() map[string]time.Duration {
	return map[string]time.Duration{
		"statement_timeout": statementTimeout, "lock_timeout": lockTimeout, "idle_in_transaction_session_timeout": idleTimeout,
	}
}

// limit has a new connection begin with the limits. They are no state that anything depends on.
func (s *Store) applySettings(cc *pgx.ConnConfig) {
	if s.noStartupParams.Load() {
		return
	}
	cc.RuntimeParams["default_transaction_isolation"], cc.RuntimeParams["client_encoding"] = readCommitted, encoding
	for name, d := range sessionTimeouts() {
		if _, given := cc.RuntimeParams[name]; !given {
			cc.RuntimeParams[name] = strconv.FormatInt(d.Milliseconds(), 10)
		}
	}
}

// unlimit leaves the limits out from now on where err says that they were refused, as poolers do. It reports whether it
// did.
func (s *Store) dropSettings(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "08P01" || !s.noStartupParams.CompareAndSwap(false, true) {
		return false
	}
	s.log.Info("connections begin without time limits: they were refused", "error", err)
	return true
}
