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

// The configuration of connections.

const (
	connectTimeout = 2 * time.Second
	// defaultAppName is the application name of connections, unless the DSN has another one.
	defaultAppName = "parkd"
	// minConns is how many connections are kept open, since making one takes as long as a few steps.
	minConns = 2
	// reservedConns is how many connections are reserved for messages between nodes: two for heartbeats and one for
	// hints.
	reservedConns = 3
	// minToReserve is how many connections the DSN must allow for some to be reserved.
	minToReserve = 2 * reservedConns
	// pingAfterIdle is how long a connection may be idle and is still used without a ping.
	pingAfterIdle = time.Second
	// These limits in the server are for nodes that freeze. A running node gives up earlier.
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
	// A lost host is detected within half a minute, even if no call waits for it.
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

// setsMaxConns reports whether the DSN limits the number of connections.
func setsMaxConns(dsn string) bool {
	cc, err := pgx.ParseConfig(dsn)
	return err == nil && cc.RuntimeParams["pool_max_conns"] != ""
}

// reserve takes the reserved connections out of a configuration. It reports whether there are too few for that.
func reserve(cfg *pgxpool.Config) (few bool) {
	if cfg.MaxConns < minToReserve {
		return true
	}
	cfg.MaxConns -= reservedConns
	cfg.MinConns = min(cfg.MinConns, cfg.MaxConns)
	return false
}

// controlConfig returns the configuration of connections for the frequent messages between nodes. Since these have
// their own connections, consecutive steps use the same connection, whose session in the server has cached what a step
// needs.
func controlConfig(cfg *pgxpool.Config, s *Store) *pgxpool.Config {
	cfg = cfg.Copy()
	cfg.ConnConfig.Tracer = newAcquireQueue(s)
	cfg.MinConns, cfg.MinIdleConns, cfg.MaxConns = 0, 0, reservedConns-1
	return cfg
}

// sessionTimeouts are settings of new connections, unless the DSN has them.
func sessionTimeouts() map[string]time.Duration {
	return map[string]time.Duration{
		"statement_timeout": statementTimeout, "lock_timeout": lockTimeout, "idle_in_transaction_session_timeout": idleTimeout,
	}
}

// applySettings sets the settings of a new connection. Nothing depends on them for correctness.
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

// dropSettings leaves the settings out from now on if err says that they were refused, as poolers do. It reports
// whether it did so.
func (s *Store) dropSettings(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "08P01" || !s.noStartupParams.CompareAndSwap(false, true) {
		return false
	}
	s.log.Info("the server refused the settings of connections: connecting without them", "error", err)
	return true
}
