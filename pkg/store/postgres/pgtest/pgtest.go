// Package pgtest provides tests with databases of a PostgreSQL server: one server for a test binary, one database for a
// test.
//
// The Go package is no API: it may change with any release.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// RequiredEnv is the environment variable that makes tests fail and not skip if no server is installed.
const RequiredEnv = "PARKD_REQUIRE_POSTGRES"

// New databases are copies of these two, with a schema and without.
const (
	migrated = "migrated"
	empty    = "template1"
)

// Cluster is a server that starts when a test asks for the first database. The zero value is ready to use.
type Cluster struct {
	once   sync.Once
	server *server.Server
	err    error

	mu        sync.Mutex
	databases int
}

// Run runs the tests of a TestMain, then stops the server.
func (c *Cluster) Run(m *testing.M) int {
	defer func() {
		if c.server != nil {
			_ = c.server.Stop()
		}
	}()
	return m.Run()
}

// Empty returns the DSN of a new database without a schema. It skips the test if no server is installed.
func (c *Cluster) Empty(t testing.TB) string { return c.dsn(t, empty) }

// Migrated returns the DSN of a new database with the schema.
func (c *Cluster) Migrated(t testing.TB) string { return c.dsn(t, migrated) }

func (c *Cluster) dsn(t testing.TB, template string) string {
	t.Helper()
	dsn, err := c.database(t.Context(), template)
	if errors.Is(err, server.ErrNotInstalled) && os.Getenv(RequiredEnv) == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

// New returns the DSN of a new database without a schema, or [server.ErrNotInstalled].
func (c *Cluster) New(ctx context.Context) (string, error) { return c.database(ctx, empty) }

func (c *Cluster) database(ctx context.Context, template string) (string, error) {
	c.once.Do(c.start)
	if c.err != nil {
		return "", c.err
	}
	c.mu.Lock()
	defer c.mu.Unlock() // only one copy of a template may be made at a time
	c.databases++
	return c.server.Create(ctx, fmt.Sprintf("test_%d", c.databases), template)
}

func (c *Cluster) start() {
	ctx := context.Background()
	if c.server, c.err = server.Start(ctx, "fsync=off", "max_connections=300"); c.err != nil {
		return
	}
	dsn, err := c.server.Create(ctx, migrated, empty)
	if err == nil {
		_, err = postgres.MigrateUp(ctx, dsn, false)
	}
	c.err = err
}

// Server returns the server, for tests that inject faults. It is nil until a test has asked for a database.
func (c *Cluster) Server() *server.Server { return c.server }
