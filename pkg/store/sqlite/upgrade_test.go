package sqlite_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// expectation is the content of testdata/first.json: the database in testdata/first.sql as the release that wrote it
// read it. The database has the first schema, tasks of all statuses, two pools, messages (one of them trimmed) and
// parcels.
type expectation struct {
	Pools    map[string]ledger.Pool
	Live     map[string]int
	Tasks    map[string][]ledger.Record
	Messages []struct {
		Message     park.Message
		Tenant, Key string
	}
	Events []struct {
		Event park.Event
		Ord   int
	}
	Parcels []string // the tasks of their messages
}

func readExpectation(t *testing.T) (k expectation) {
	t.Helper()
	b, err := os.ReadFile("testdata/first.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &k); err != nil {
		t.Fatal(err)
	}
	compact := func(m *json.RawMessage) {
		var b bytes.Buffer
		if string(*m) == "null" {
			*m = nil
		} else if len(*m) > 0 && json.Compact(&b, *m) == nil {
			*m = b.Bytes()
		}
	}
	for _, tasks := range k.Tasks {
		for i := range tasks {
			compact(&tasks[i].Payload)
			compact(&tasks[i].Result)
		}
	}
	for i := range k.Messages {
		m := &k.Messages[i]
		compact(&m.Message.Payload)
		m.Message.Tenant, m.Message.Key = m.Tenant, m.Key
	}
	for i := range k.Events {
		compact(&k.Events[i].Event.Detail)
		k.Events[i].Event.Ord = k.Events[i].Ord
	}
	return k
}

// createFirstRelease creates a database as the first release left it.
func createFirstRelease(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "parkd.db")
	b, err := os.ReadFile("testdata/first.sql")
	if err != nil {
		t.Fatal(err)
	}
	execSQL(t, path, string(b))
	return path
}

// readRows returns all rows of all tables except pl_migrations, by table.
func readRows(t *testing.T, path string) map[string][][]any {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := make(map[string][][]any)
	for _, table := range []string{"pl_pools", "pl_queue_jobs", "pl_mailbox_messages", "pl_audit_events", "pl_outbox"} {
		found, err := db.QueryContext(t.Context(), "SELECT * FROM "+table+" ORDER BY 1")
		if err != nil {
			t.Fatal(err)
		}
		columns, err := found.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for found.Next() {
			row := make([]any, len(columns))
			dest := make([]any, len(columns))
			for i := range row {
				dest[i] = &row[i]
			}
			if err := found.Scan(dest...); err != nil {
				t.Fatal(err)
			}
			all[table] = append(all[table], row)
		}
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		if err := found.Close(); err != nil { //nolint:sqlclosecheck // the next table's rows come in the same loop
			t.Fatal(err)
		}
	}
	return all
}

// TestUpgrade opens a database of the first release and finds all its tasks, messages and events.
func TestUpgrade(t *testing.T) {
	want, s := readExpectation(t), openAt(t, createFirstRelease(t))
	for pool, row := range want.Pools {
		c := readAll(t, s, pool)
		if diff := gocmp.Diff(row, c.Pools[pool].Row); diff != "" {
			t.Errorf("pool %s (-before +after):\n%s", pool, diff)
		}
		if n := len(c.Pools[pool].Tasks); n != want.Live[pool] {
			t.Errorf("pool %s has %d live tasks, had %d", pool, n, want.Live[pool])
		}
		if diff := gocmp.Diff(want.Tasks[pool], c.Tasks[pool]); diff != "" {
			t.Errorf("tasks of pool %s (-before +after):\n%s", pool, diff)
		}
	}
	events, err := s.Events(t.Context(), park.AuditQuery{Limit: 1000})
	if err != nil || len(events) != len(want.Events) {
		t.Fatalf("%d events, were %d, %v", len(events), len(want.Events), err)
	}
	for i, e := range want.Events {
		if diff := gocmp.Diff(e.Event, events[i]); diff != "" {
			t.Errorf("event (-before +after):\n%s", diff)
		}
	}
	var messages []park.Message
	for _, q := range []park.MailboxQuery{{Tenant: "acme", Key: "alice"}, {Tenant: "acme", Key: "bob"}, {Tenant: "globex", Key: "bob"}} {
		q.Limit = 100
		found, err := s.Messages(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, found...)
	}
	for i, m := range want.Messages {
		if i >= len(messages) {
			t.Fatalf("%d messages, were %d", len(messages), len(want.Messages))
		}
		if diff := gocmp.Diff(m.Message, messages[i]); diff != "" {
			t.Errorf("message (-before +after):\n%s", diff)
		}
	}
	parcels, err := s.Outbox(t.Context(), "notify/far", park.At(time.Now()), 100)
	if err != nil || len(parcels) != len(want.Parcels) {
		t.Fatalf("%d parcels, were %d, %v", len(parcels), len(want.Parcels), err)
	}
	for i, task := range want.Parcels {
		if parcels[i].Message.TaskID != task {
			t.Errorf("a parcel of task %s, was of %s", parcels[i].Message.TaskID, task)
		}
	}
}

// TestUpgradeTakenBack: after a rollback an older release finds its database unchanged.
func TestUpgradeTakenBack(t *testing.T) {
	path := createFirstRelease(t)
	want := readRows(t, path)
	for _, table := range []string{"pl_pools", "pl_queue_jobs", "pl_mailbox_messages", "pl_audit_events", "pl_outbox"} {
		if len(want[table]) == 0 {
			t.Fatalf("there is nothing in table %s", table)
		}
	}
	done, err := sqlite.MigrateUp(t.Context(), path, false)
	if err != nil || len(done) == 0 {
		t.Fatalf("applied %+v, %v", done, err)
	}
	if err := openAt(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	for range done {
		if _, err := sqlite.MigrateDown(t.Context(), path, migrations.DownOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := sqlite.MigrationStatus(t.Context(), path)
	if err != nil || all[0].AppliedAt.IsZero() || !all[1].AppliedAt.IsZero() {
		t.Fatalf("status %+v, %v", all, err)
	}
	if diff := gocmp.Diff(want, readRows(t, path)); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	openAt(t, path)
}
