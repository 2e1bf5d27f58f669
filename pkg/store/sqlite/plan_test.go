package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

func openTemp(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "parkd.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// hotQueries returns all statements that run while the daemon serves, by name.
func hotQueries(t testing.TB) map[string]string {
	all := map[string]string{
		"readPool": readPool, "movePool": updatePool, "updateJob": updateJob, "deleteJob": deleteJob,
		"readMessages": readMessages, "trimMailbox": trimMailbox, "deleteMessage": deleteMessage,
		"deleteEvent": deleteEvent, "findSpan": findBlock, "loosenSpan": splitBlock, "lastEvent": lastEvent,
		"probeSteps": probeStep, "lastStep": lastStep,
		"freshParcels": freshParcels, "dueParcels": dueParcels, "settleParcel": deleteParcel, "postponeParcel": postponeParcel,
		"loadTasks": loadTasks, "readTasks": readTasks, "readSizes": readSizes,
		"keptTasks": keptTasks, "keptMessages": keptMessages, "packedTasks": packedTasks(), "packedMessages": packedMessages(),
		"oldJobs": oldJobs, "oldMessages": oldMessages, "oldEvents": oldEvents,
	}
	for _, tl := range timelines() {
		all[tl.table+" probe"], all[tl.table+" late"] = tl.probe(), tl.maxLate()
	}
	for _, status := range append(park.Statuses(), "") {
		for _, tenant := range []string{"", "acme"} {
			for _, cursor := range []string{"", "5"} {
				query, _, err := listQuery("gpu", park.TaskQuery{Status: status, Tenant: tenant, Cursor: cursor, Limit: 10})
				if err != nil {
					t.Fatal(err)
				}
				all[fmt.Sprintf("list status=%s tenant=%s cursor=%s", status, tenant, cursor)] = query
			}
		}
	}
	now := park.FromMicro(1)
	for mask := 1; mask < 64; mask++ {
		has := func(bit int) bool { return mask&bit != 0 }
		var q park.AuditQuery
		var r scanRange
		if has(1) {
			q.TaskID = "x"
		}
		if has(2) {
			q.PoolID = "gpu"
		}
		if has(4) {
			q.Tenant = "acme"
		}
		if has(8) {
			q.Action = park.ActExpire
		}
		if has(16) {
			q.Since, r.fromSeq = now, 1
		}
		if has(32) {
			q.Until, r.untilSeq = now, 9
		}
		all[fmt.Sprintf("events %+v", q)], _ = eventsQuery(q, r)
		if index(q) == byPool {
			r.fromRev, r.fromOrd, r.untilRev = 3, 4, 9
			all[fmt.Sprintf("events %+v after a cursor", q)], _ = eventsQuery(q, r)
		}
		if q.Limit = minPackedEvents; isPackedRead(q) {
			all[fmt.Sprintf("whole log %+v", q)], _ = packedEventsQuery(q, r, 9)
		}
		q.Action = park.ActSubmit
		all[fmt.Sprintf("events %+v", q)], _ = eventsQuery(q, r)
	}
	return all
}

// TestPlans checks that no statement sorts, and that none reads unwanted rows, except for filters without an index.
func TestPlans(t *testing.T) {
	s := openTemp(t)
	for name, query := range hotQueries(t) {
		for _, line := range queryPlan(t, s, query) {
			switch {
			case strings.Contains(line, "USE TEMP B-TREE") && name == "dueParcels": // only of ids
			case strings.Contains(line, "USE TEMP B-TREE"):
				t.Errorf("%s sorts: %s\n%s", name, line, query)
			case strings.HasPrefix(line, "SCAN json_each"), strings.HasPrefix(line, "SCAN (subquery"), strings.HasPrefix(line, "SCAN e") && readsLogInOrder(query), name == "lastEvent":
			case strings.HasPrefix(line, "SCAN"):
				t.Errorf("%s reads a whole table: %s\n%s", name, line, query)
			case strings.HasPrefix(line, "SEARCH") && !strings.Contains(line, "USING"):
				t.Errorf("%s uses no index: %s\n%s", name, line, query)
			}
		}
	}
}

// readsLogInOrder reports whether a query fills a page from the log itself, in the order of writing.
func readsLogInOrder(query string) bool {
	return !strings.Contains(query, "INDEXED BY") && strings.HasSuffix(query, " ORDER BY e.seq LIMIT ?")
}

// TestIndexes checks that queries use the index that leads to the fewest unwanted rows.
func TestIndexes(t *testing.T) {
	s := openTemp(t)
	want := func(query, index string) {
		t.Helper()
		if lines := strings.Join(queryPlan(t, s, query), "; "); !strings.Contains(lines, index+" ") {
			t.Errorf("%s\ngoes by %s, want %s", query, lines, index)
		}
	}
	for _, c := range []struct {
		q    park.TaskQuery
		want string
	}{
		{park.TaskQuery{}, "pl_queue_jobs_pool"},
		{park.TaskQuery{Status: park.Completed}, "pl_queue_jobs_pool"},
		{park.TaskQuery{Tenant: "acme"}, "pl_queue_jobs_tenant"},
		{park.TaskQuery{Tenant: "acme", Status: park.Completed}, "pl_queue_jobs_tenant"},
		{park.TaskQuery{Status: park.Running}, "pl_queue_jobs_status"},
		{park.TaskQuery{Tenant: "acme", Status: park.Failed}, "pl_queue_jobs_status"},
	} {
		query, _, err := listQuery("gpu", c.q)
		if err != nil {
			t.Fatal(err)
		}
		want(query, c.want)
	}
	for _, c := range []struct {
		q    park.AuditQuery
		want string
	}{
		{park.AuditQuery{TaskID: "x", PoolID: "gpu", Tenant: "acme", Action: park.ActFail}, byTask},
		{park.AuditQuery{PoolID: "gpu", Tenant: "acme", Action: park.ActFail}, byAction},
		{park.AuditQuery{PoolID: "gpu", Tenant: "acme", Action: park.ActStart}, byTenant},
		{park.AuditQuery{PoolID: "gpu", Action: park.ActStart}, byPool},
		{park.AuditQuery{PoolID: "gpu"}, byPool},
		{park.AuditQuery{Action: park.ActFail}, byAction},
	} {
		query, _ := eventsQuery(c.q, scanRange{})
		want(query, c.want)
	}
}

func queryPlan(t *testing.T, s *Store, query string) (lines []string) {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var line string
		if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil || len(lines) == 0 {
		t.Fatalf("%s: no plan, %v", query, err)
	}
	return lines
}

// TestPragmas checks the pragmas of the writer's connection that durability depends on.
func TestPragmas(t *testing.T) {
	s := openTemp(t)
	err := s.write(t.Context(), 1, func(w *writer) error {
		for query, want := range map[string]any{
			"PRAGMA synchronous": int64(2), "PRAGMA journal_mode": "wal", "PRAGMA mmap_size": int64(0),
			"PRAGMA wal_autocheckpoint": int64(0), // the writer does the checkpoints
		} {
			if got, err := w.queryOnce(query); err != nil || got != want {
				t.Errorf("%s is %v, want %v (%v)", query, got, want, err)
			}
		}
		return w.checkPragmas()
	})
	if err != nil {
		t.Fatal(err)
	}
	var only int
	if err := s.db.QueryRowContext(t.Context(), "PRAGMA query_only").Scan(&only); err != nil || only != 1 {
		t.Errorf("readers may write: query_only is %d, %v", only, err)
	}
}

// TestUnsafeConnectionIsRefused checks that the writer does not start on a connection that could lose an acknowledged
// commit.
func TestUnsafeConnectionIsRefused(t *testing.T) {
	for pragma, word := range map[string]string{"synchronous = NORMAL": "synchronous", "journal_mode = DELETE": "journal_mode"} {
		c, err := connect(t.Context(), dataSourceName(filepath.Join(t.TempDir(), "x.db"), "mode=rwc", writePragmas()...))
		if err != nil {
			t.Fatal(err)
		}
		w := &writer{conn: c}
		if err := w.checkPragmas(); err != nil {
			t.Errorf("as it is opened: %v", err)
		}
		if _, err := w.queryOnce("PRAGMA " + pragma); err != nil {
			t.Fatal(err)
		}
		if err := w.checkPragmas(); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("with %s: %v", pragma, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	for version, want := range map[string]bool{"3.51.2": false, "3.51.3": true, "3.54": true, "3.51": false, "4.0.0": true, "3.9.9": false} {
		if versionAtLeast(version, 3, 51, 3) != want {
			t.Errorf("SQLite %s: want %t", version, want)
		}
	}
}
