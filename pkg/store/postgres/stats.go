package postgres

import (
	"context"
	"fmt"
	"time"
)

// Connections are numbers of connections of a store.
type Connections struct{ Open, InUse, Max int }

// Connections returns how many connections are open and in use, and how many there may be.
func (s *Store) Connections() (c Connections) {
	all := []conns{s.pool, s.control}
	if s.shortage.byDSN {
		all = all[:1]
	}
	for _, p := range all {
		st := p.Stat()
		c.Open += int(st.TotalConns())
		c.InUse += int(st.AcquiredConns())
		c.Max += int(st.MaxConns())
	}
	return c
}

// Horizon describes what prevents the server from removing old versions of rows.
type Horizon struct {
	// Age is the age of the oldest transaction that has a snapshot or is prepared. The server shows other users'
	// transactions only to roles that may read all statistics (pg_read_all_stats).
	Age time.Duration
	// Transactions is how many transactions began after the oldest snapshot, which may be that of a replication slot.
	Transactions int64
}

const readHorizon = "SELECT coalesce(extract(epoch FROM pg_catalog.now() - least(" +
	"(SELECT min(xact_start) FROM pg_catalog.pg_stat_activity WHERE backend_xmin IS NOT NULL AND (datname = pg_catalog.current_database() OR datname IS NULL))," +
	" (SELECT min(prepared) FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()))), 0)::float8," +
	" greatest(" +
	"(SELECT max(pg_catalog.age(backend_xmin)) FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() OR datname IS NULL)," +
	" (SELECT max(pg_catalog.age(transaction)) FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database())," +
	" (SELECT max(greatest(pg_catalog.age(xmin), pg_catalog.age(catalog_xmin))) FROM pg_catalog.pg_replication_slots), 0)::int8"

// Horizon asks the server once and waits only until ctx ends.
func (s *Store) Horizon(ctx context.Context) (h Horizon, err error) {
	var age float64
	if err := s.controlConns().Pool.QueryRow(ctx, readHorizon).Scan(&age, &h.Transactions); err != nil {
		return Horizon{}, fmt.Errorf("look for old snapshots: %w", reword(err))
	}
	h.Age = max(time.Duration(age*float64(time.Second)), 0)
	return h, nil
}
