//go:build linux

package crash_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

// TestMigrate changes the schema of a database, or tries to, while nodes use it, when none do, and while some start.
// Nothing is rolled back while a node uses it, no row is deleted unintentionally, a dry run predicts the result, and a
// node that starts meanwhile works correctly or not at all.
func TestMigrate(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := proof.Begin(t, "migrate")
	c.Target("migrations beside nodes", 7, 7, 280)
	c.Target("migrations between nodes", 1, 1, 40)
	s := newCluster(c, dsn, 2)
	known := s.migrations()
	for c.More("migrations beside nodes") || c.More("migrations between nodes") {
		for _, i := range s.rng.Perm(len(noopCommands())) {
			s.migrateBesideNodes(noopCommands()[i], known)
			c.Add("migrations beside nodes", 1)
		}
		for _, n := range s.nodes {
			s.wantServes(n)
		}
		s.migrateBetweenNodes(known)
		c.Add("migrations between nodes", 1)
		if c.Failed() {
			return
		}
	}
	s.endFaults()
	if !c.Failed() {
		s.rollBackAll(known)
	}
}

// change is a migration as parkd migrate prints it.
type change struct {
	Version   int64            `json:"version"`
	Name      string           `json:"name"`
	AppliedAt string           `json:"appliedAt"`
	Rows      map[string]int64 `json:"rowsGone"`
}

// migrateResult is the result of parkd migrate.
type migrateResult struct {
	Migrations []change `json:"migrations"`
	Code       string   `json:"code"` // of an error
	Detail     string   `json:"detail"`
	exit       int
}

// migrate runs parkd migrate.
func (s *nodeCluster) migrate(args ...string) (a migrateResult) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	c := exec.CommandContext(ctx, program(s, "parkd"), append(append([]string{"migrate"}, args...), "--dsn", s.dsn, "-o", "json")...)
	var out, said bytes.Buffer
	c.Env, c.Stdout, c.Stderr = s.nodes[0].env(), &out, &said
	err := c.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || ctx.Err() != nil {
		s.Fatalf("parkd migrate %q: %v", args, errors.Join(err, ctx.Err()))
	}
	a.exit = c.ProcessState.ExitCode()
	text := out.Bytes()
	if a.exit != 0 {
		text = said.Bytes()
	}
	if err := json.Unmarshal(text, &a); err != nil {
		s.Fatalf("parkd migrate %q printed %q: %v", args, text, err)
	}
	return a
}

// migrations returns all known migrations, which must be applied.
func (s *nodeCluster) migrations() []change {
	s.Helper()
	a := s.migrate("status")
	if a.exit != 0 || len(a.Migrations) < 2 {
		s.Fatalf("the schema has %+v", a)
	}
	for _, m := range a.Migrations {
		if m.AppliedAt == "" {
			s.Broken("migration %s is not applied", m.Name)
		}
	}
	return a.Migrations
}

// noopCommands must change nothing while nodes use the database.
func noopCommands() []string {
	return []string{"status", "up", "up --dry-run", "down", "down --dry-run", "down --force", "down --force --dry-run"}
}

// migrateBesideNodes runs one of them.
func (s *nodeCluster) migrateBesideNodes(call string, known []change) {
	s.Helper()
	a := s.migrate(strings.Fields(call)...)
	switch {
	case call == "status":
		if a.exit != 0 || !reflect.DeepEqual(a.Migrations, known) {
			s.Broken("status beside nodes: %+v, want %+v", a, known)
		}
	case strings.HasPrefix(call, "up"):
		if a.exit != 0 || len(a.Migrations) > 0 {
			s.Broken("%s of a schema that is up to date: %+v", call, a)
		}
	case a.exit != 1 || a.Code != "database_in_use":
		s.Broken("%s beside nodes that live: %+v", call, a)
	}
}

// migrateBetweenNodes ends all nodes, one of them by SIGKILL, rolls back migrations as far as no row is deleted, starts
// nodes meanwhile, and applies the migrations again.
func (s *nodeCluster) migrateBetweenNodes(known []change) {
	s.Helper()
	s.nodes[0].kill()
	s.nodes[1].signal(syscall.SIGTERM)
	s.nodes[1].wait()
	s.awaitUnused()
	before := s.rows() // the nodes' last requests have arrived by now
	taken := 0
	for ; taken < len(known); taken++ {
		would := s.migrate("down", "--dry-run")
		if now := s.migrate("status").Migrations; applied(now) != len(known)-taken {
			s.Broken("a dry run has changed the schema: %+v", now)
		}
		is := s.migrate("down")
		if would.exit != is.exit || would.Code != is.Code || would.Detail != is.Detail || !reflect.DeepEqual(would.Migrations, is.Migrations) {
			s.Broken("down did %+v, a dry run before it said %+v", is, would)
		}
		if after := s.rows(); !reflect.DeepEqual(after, before) {
			s.Broken("there were %v, and after down (%+v) there are %v", before, is, after)
		}
		if is.exit != 0 {
			if is.exit != 1 || is.Code != "rows_would_go" {
				s.Broken("down is refused: %+v", is)
			}
			break
		}
	}
	s.Add("migrations taken back", taken)
	if taken == 0 || taken == len(known) {
		s.Broken("%d of %d migrations were taken back without losing rows", taken, len(known))
	}
	if err := s.nodes[0].tryStart(); err == nil {
		s.Broken("a node serves a schema that lacks %d migrations", taken)
	} else if b, err := os.ReadFile(s.nodes[0].output()); err != nil || !bytes.Contains(b[max(0, len(b)-2000):], []byte("parkd migrate up")) {
		s.Broken("a node that needs another schema does not say what mends it: %v %s", err, b[max(0, len(b)-2000):])
	}
	s.concurrently(func() { s.migrate("up") }, func() { s.migrate("up") }, s.mayStart(s.nodes[0]))
	if now := s.migrations(); len(now) != len(known) {
		s.Broken("after up there are %+v", now)
	}
	s.nodes[0].kill()
	s.awaitUnused()
	s.concurrently(func() { s.migrate("down") }, s.mayStart(s.nodes[0]), s.mayStart(s.nodes[1]))
	at := applied(s.migrate("status").Migrations)
	for i, n := range s.nodes {
		if n.isRunning() && at < len(known) {
			s.Broken("node %d serves, and the last migration was taken back beneath it", i)
		}
	}
	s.migrate("up")
	for _, n := range s.nodes {
		if !n.isRunning() {
			n.start()
		}
		s.wantServes(n)
	}
}

// awaitUnused waits until the database no longer counts as used. The first schema has no node TTL, so with it that
// would take a minute more.
func (s *nodeCluster) awaitUnused() {
	s.Helper()
	for began := time.Now(); s.migrate("down", "--dry-run").Code == "database_in_use"; time.Sleep(300 * time.Millisecond) {
		if time.Since(began) > proof.Patience {
			s.Fatalf("the database is taken for used %s after all nodes have ended", proof.Patience)
		}
	}
	s.admin("UPDATE pl_nodes SET beat_at = beat_at - interval '1 hour'")
}

// applied returns how many migrations are applied.
func applied(all []change) (n int) {
	for _, m := range all {
		if m.AppliedAt != "" {
			n++
		}
	}
	return n
}

// concurrently runs functions concurrently, with short random delays between their starts.
func (s *nodeCluster) concurrently(all ...func()) {
	var doing sync.WaitGroup
	for _, do := range all {
		doing.Go(do)
		time.Sleep(s.between(0, 40*time.Millisecond))
	}
	doing.Wait()
}

// mayStart returns a function that starts a node, which may refuse.
func (s *nodeCluster) mayStart(n *node) func() {
	return func() {
		if err := n.tryStart(); err != nil {
			s.Add("nodes that refused", 1)
			return
		}
		s.Add("nodes that served", 1)
	}
}

// checkedTables are the tables whose rows must be kept.
func checkedTables() []string {
	return []string{"pl_queue_jobs", "pl_mailbox_messages", "pl_audit_events", "pl_outbox"}
}

// rows counts the rows of those tables.
func (s *nodeCluster) rows() map[string]int64 {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	rows := make(map[string]int64)
	for _, table := range checkedTables() {
		n, err := pgtest.QueryInt(ctx, s.dsn, "SELECT count(*) FROM "+table)
		if err != nil {
			s.Fatal(err)
		}
		rows[table] = n
	}
	return rows
}

// rollBackAll ends the nodes and rolls back everything by force. The deleted rows were announced.
func (s *nodeCluster) rollBackAll(known []change) {
	s.Helper()
	for _, n := range s.nodes {
		n.signal(syscall.SIGTERM)
		n.wait()
	}
	s.awaitUnused()
	before := s.rows() // the nodes' last requests have arrived by now
	gone := make(map[string]int64)
	for range known {
		would, is := s.migrate("down", "--force", "--dry-run"), s.migrate("down", "--force")
		if is.exit != 0 || len(is.Migrations) != 1 || !reflect.DeepEqual(would, is) {
			s.Broken("by force down did %+v, a dry run before it said %+v", is, would)
			return
		}
		for table, n := range is.Migrations[0].Rows {
			gone[table] += n
		}
	}
	for table, n := range before {
		if gone[table] != n {
			s.Broken("%d rows of %s went, of %d it was said", n, table, gone[table])
		}
	}
	if a := s.migrate("down", "--force"); a.exit != 0 || len(a.Migrations) > 0 {
		s.Broken("down of an empty database: %+v", a)
	}
}
