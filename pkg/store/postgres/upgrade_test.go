package postgres_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

// firstVersion is the schema version of the first release.
const firstVersion = 1

// restoreFirstRelease returns the DSN of a database that the first release wrote, on a server that had counted far more
// transactions than this one.
func restoreFirstRelease(t *testing.T) string {
	t.Helper()
	dsn := cluster.Empty(t)
	dump, err := os.ReadFile("testdata/schema1.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := pgtest.Exec(t.Context(), dsn, string(dump)); err != nil {
		t.Fatal(err)
	}
	return dsn
}

// statuses are the statuses of the tasks in the dump, by pool.
var statuses = map[string]map[string]park.Status{
	"gpu": {
		"done-1": park.Completed, "done-2": park.Completed, "done-3": park.Completed, "failed-1": park.Failed, "cancelled-1": park.Dropped,
		"running-1": park.Running, "parked-1": park.Queued, "parked-2": park.Queued, "parked-3": park.Queued, "parked-deadline": park.Queued,
	},
	"work":  {"cmd-1": park.Completed, "cmd-run": park.Running, "cmd-parked": park.Queued, "cmd-expired": park.Expired},
	"lease": {"leased-1": park.Running, "leased-2": park.Queued},
}

const (
	messagesOfAlice = 4
	eventsInAll     = 43
)

// TestUpgradeLosesNothing upgrades a database of the first release.
func TestUpgradeLosesNothing(t *testing.T) {
	dsn := restoreFirstRelease(t)
	var mismatch *migrations.MismatchError
	if err := openAt(t, dsn).Check(t.Context()); !errors.As(err, &mismatch) || mismatch.Found != firstVersion {
		t.Fatalf("a database of the first parkd is taken as it is: %v", err)
	}
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, dsn)
	for pool, tasks := range statuses {
		live := 0
		for id, want := range tasks {
			found, err := s.Records(t.Context(), pool, []string{id})
			if err != nil || len(found) != 1 || found[0].Status != want {
				t.Errorf("task %s of pool %s: %+v %v, want %s", id, pool, found, err, want)
			}
			if !want.Ended() {
				live++
			}
		}
		page, next, err := s.List(t.Context(), pool, park.TaskQuery{Limit: 100})
		if err != nil || len(page) != len(tasks) || next != "" {
			t.Errorf("pool %s lists %d tasks, want %d: %v", pool, len(page), len(tasks), err)
		}
		snap, err := s.Load(t.Context(), pool)
		if err != nil || len(snap.Tasks) != live {
			t.Errorf("pool %s loads %d tasks, want %d: %v", pool, len(snap.Tasks), live, err)
		}
	}
	deadline, err := s.Records(t.Context(), "gpu", []string{"parked-deadline"})
	if err != nil || deadline[0].Deadline.Year() != 2096 {
		t.Errorf("the deadline is %s: %v", deadline[0].Deadline, err)
	}
	mail, err := s.Messages(t.Context(), park.MailboxQuery{Tenant: "default", Key: "alice", Limit: 100})
	if err != nil || len(mail) != messagesOfAlice || string(mail[1].Payload) != `{"n":2}` {
		t.Errorf("a mailbox holds %d messages, want %d: %v", len(mail), messagesOfAlice, err)
	}
	events, err := s.Events(t.Context(), park.AuditQuery{Limit: 1000})
	if err != nil || len(events) != eventsInAll {
		t.Errorf("the log has %d events, want %d: %v", len(events), eventsInAll, err)
	}
	if kept, err := s.LeaseRenewals(t.Context(), "lease", []string{"leased-1"}); err != nil || len(kept) != 0 {
		t.Errorf("leases kept: %v %v", kept, err)
	}
	continuePool(t, s)
}

// continuePool commits a step in a pool of the dump and checks that new rows come after the old ones.
func continuePool(t *testing.T, s *postgres.Store) {
	t.Helper()
	snap, err := s.Load(t.Context(), "gpu")
	if err != nil {
		t.Fatal(err)
	}
	f := storetest.NewModel("gpu")
	f.Row = snap.Row
	f.Submit(func(r *ledger.Record) { r.TaskID = "new" })
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	page, _, err := s.List(t.Context(), "gpu", park.TaskQuery{Limit: 1})
	if err != nil || len(page) != 1 || page[0].TaskID != "new" {
		t.Errorf("the newest task is %v, want the new one: %v", page, err)
	}
	last, err := s.LastEvent(t.Context())
	if err != nil || !strings.HasPrefix(last, fmt.Sprintf("gpu:%d:", snap.Row.Rev+1)) {
		t.Errorf("the last event is %s, want one of the new step: %v", last, err)
	}
}

// dumpTables returns the contents of the tables with data.
func dumpTables(t *testing.T, c *pgx.Conn) (all string) {
	t.Helper()
	for _, table := range []string{"pl_pools", "pl_queue_jobs", "pl_mailbox_messages", "pl_audit_events", "pl_outbox", "pl_leases"} {
		var rows string
		if err := c.QueryRow(t.Context(), "SELECT coalesce(string_agg(r, E'\n' ORDER BY r), '') FROM (SELECT row_to_json(t)::text AS r FROM "+table+" t) x").Scan(&rows); err != nil {
			t.Fatal(err)
		}
		all += table + "\n" + rows + "\n"
	}
	return all
}

// TestDowngradeLosesNothing rolls a database back to the schema of the first release, which then works as before.
func TestDowngradeLosesNothing(t *testing.T) {
	dsn := restoreFirstRelease(t)
	c := connect(t, dsn)
	before := dumpTables(t, c)
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
		t.Fatal(err)
	}
	for version := int64(0); version != firstVersion+1; {
		last, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{})
		if err != nil {
			t.Fatal(err)
		}
		version = last.Version
	}
	if after := dumpTables(t, c); after != before {
		t.Errorf("there was\n%s\nand is\n%s", before, after)
	}
	replayFirstRelease(t, connect(t, dsn))
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
		t.Fatalf("up again: %v", err)
	}
	continuePool(t, openAt(t, dsn))
}

// TestNodesOfTheFirstParkdGoOn sends a database with the current schema the calls of nodes of the first release, which
// continue to run while the database and other nodes are upgraded.
func TestNodesOfTheFirstParkdGoOn(t *testing.T) {
	dsn := restoreFirstRelease(t)
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
		t.Fatal(err)
	}
	replayFirstRelease(t, connect(t, dsn))
}

// replayFirstRelease makes the calls of the first release.
func replayFirstRelease(t *testing.T, c *pgx.Conn) {
	t.Helper()
	const (
		step    = `ROW('gpu', $1::text, 'old', $2::bigint, 4, 100, 'active', 3, 5, 1795979803978088, 4, 100, 1)::pl_step`
		job     = `ARRAY[ROW($3::text, 'acme', 'queued', 0, 9, 1, 0, 0, false, 1795979803978088, 0, 0, 0, 0, 0, 0, 0, 0, 7, 'alice', '', '', '', '', '', NULL, NULL, '{}'::bytea)::pl_job]`
		change  = `ARRAY[ROW('parked-1', 'queued', 0, 0, 0, false, 0, 0, 0, 0, '', '', '', '', NULL)::pl_change]`
		message = `ARRAY[ROW('acme', 'alice', 'gpu', $3::text, 'completed', '', '', 1, 1795979803978088, NULL, true)::pl_message]`
		event   = `ARRAY[ROW('gpu', $2::bigint, 0, 1795979803978088, 'submit', $3::text, 'acme', 1, 0, '', NULL, 7)::pl_event]`
		parcel  = `ARRAY[ROW('notify/gpu', 0, 1795979803978088, '{}'::bytea, NULL)::pl_parcel]`
	)
	run := func(statements ...string) {
		for _, sql := range statements {
			exec(t, c, sql)
		}
	}
	run("SELECT pl_rebase()", "INSERT INTO pl_nodes AS n (node_id, counter) VALUES ('old', 1)"+
		" ON CONFLICT (node_id) DO UPDATE SET counter = n.counter + 1, beat_at = now() WHERE NOT n.dead")
	var rev int64
	if err := c.QueryRow(t.Context(), "SELECT rev FROM pl_pools WHERE pool_id = 'gpu'").Scan(&rev); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint("old-", rev)
	send := func(rev int64) (answer *string) {
		const all = "SELECT (pl_commit(" + step + ", " + job + ", " + change + ", " + message + ", " + event + ", " + parcel + ")).answer"
		if err := c.QueryRow(t.Context(), all, id, rev, id).Scan(&answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if answer := send(rev + 1); answer != nil {
		t.Fatalf("a step is answered %q", *answer)
	}
	if answer := send(rev + 1); answer != nil {
		t.Fatalf("the same step, sent again, is answered %q", *answer)
	}
	id += "-late"
	if answer := send(rev + 1); answer == nil || *answer != "moved" {
		t.Fatalf("another step of the same rev is answered %v", answer)
	}
	run("SELECT pl_changes('gpu', 0)", "SELECT pl_turn('gpu', 'old')", "SELECT pl_final(), pl_horizon(), pl_number()",
		"SELECT pl_relay('{}', '{}'::pl_event[])", "SELECT set_config('synchronous_commit', 'off', true), pg_notify('pl_pools', 'gpu 1')",
		"UPDATE pl_nodes SET dead = true WHERE node_id = 'old' AND counter = 0 AND NOT dead", "DELETE FROM pl_nodes WHERE node_id = 'old'")
}
