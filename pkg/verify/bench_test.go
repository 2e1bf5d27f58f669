package verify_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/api"
	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
	"github.com/parkd-dev/parkd/pkg/verify"
)

// perTask is how many events a task of a generated history has.
const perTask = 4

// generate writes a history into a file. In each step some tasks end, as many parked ones start, and as many are
// parked.
func generate(t testing.TB, path string, tasks int) {
	t.Helper()
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	const crowd = 256
	tasks -= tasks % crowd
	at := time.Now().Add(-24 * time.Hour)
	row := ledger.Pool{MaxUnits: crowd, MaxQueueDepth: 2 * crowd, State: park.Active, ConfiguredUnits: crowd, ConfiguredDepth: 2 * crowd}
	state := func(s park.Status, rank int, started, ended park.Time) ledger.State {
		st := ledger.State{Status: s, Rank: int64(rank), StartedAt: started, EndedAt: ended}
		if s != park.Queued {
			st.Attempt, st.Node = 1, "0198c0de-4b8e-7d0a-9f3c-5e2d1a7b6c90"
		}
		if s == park.Completed {
			st.Result = []byte(`{"ok":true}`)
		}
		return st
	}
	spec := func(i int, at park.Time) ledger.Spec {
		return ledger.Spec{
			PoolID: "gpu", TaskID: fmt.Sprintf("019af00d-7c2e-%08d", i), Tenant: fmt.Sprint("tenant-", i%10), MailboxKey: fmt.Sprint("box-", i%100),
			Units: 1, Payload: []byte(`{"durationMs":5}`), SubmittedAt: at, Digest: uint64(i + 1),
		}
	}
	began := map[int]park.Time{}
	for first := 0; first < tasks+2*crowd; first += crowd {
		at = at.Add(20 * time.Millisecond)
		now := park.At(at)
		row.Rev++
		row.LastAt, row.LastStep = now, strconv.FormatInt(row.Rev, 10)
		st := &store.Step{PoolID: "gpu", ID: row.LastStep}
		event := func(a park.Action, i, attempt int, detail string) {
			sp := spec(i, now)
			e := park.Event{PoolID: "gpu", Rev: row.Rev, Ord: len(st.Events), At: now, Action: a, TaskID: sp.TaskID, Tenant: sp.Tenant, Units: 1, Attempt: attempt}
			if attempt > 0 {
				e.Node = "0198c0de-4b8e-7d0a-9f3c-5e2d1a7b6c90"
			}
			if detail != "" {
				e.Detail = []byte(detail)
			}
			st.Events = append(st.Events, e)
		}
		for i := first - 2*crowd; i < first-crowd; i++ {
			if i >= 0 && i < tasks {
				sp := spec(i, now)
				done := state(park.Completed, i, began[i], now)
				delete(began, i)
				st.Updates = append(st.Updates, ledger.Update{TaskID: sp.TaskID, State: done})
				st.Messages = append(st.Messages, park.Message{
					TaskID: sp.TaskID, PoolID: "gpu", Status: park.Completed, Payload: done.Result, Attempt: 1, CreatedAt: now, Tenant: sp.Tenant, Key: sp.MailboxKey,
				})
				event(park.ActComplete, i, 1, "")
			}
		}
		for i := max(first-crowd, 0); i < first && i < tasks; i++ {
			began[i] = now
			st.Updates = append(st.Updates, ledger.Update{TaskID: spec(i, now).TaskID, State: state(park.Running, i, now, park.Time{})})
			event(park.ActStart, i, 1, "")
		}
		for i := first; i < first+crowd && i < tasks; i++ {
			sp := spec(i, now)
			st.Inserts = append(st.Inserts, ledger.Record{Spec: sp, State: state(park.Queued, i, park.Time{}, park.Time{})})
			event(park.ActSubmit, i, 0, fmt.Sprintf(`{"priority":"normal","mailbox":%q}`, sp.MailboxKey))
			event(park.ActEnqueue, i, 0, "")
		}
		row.Used, row.Queued = int64(min(first, tasks)-max(min(first-crowd, tasks), 0)), max(min(first+crowd, tasks)-min(first, tasks), 0)
		st.Row = row
		if err := s.Commit(context.Background(), st); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkPool verifies a generated history over HTTP. PARKD_VERIFY_EVENTS is its length, and PARKD_VERIFY_FILE a file
// in which it is kept for later runs.
func BenchmarkPool(b *testing.B) {
	events := 40_000
	if n, err := strconv.Atoi(os.Getenv("PARKD_VERIFY_EVENTS")); err == nil {
		events = n
	}
	path := os.Getenv("PARKD_VERIFY_FILE")
	if path == "" {
		path = filepath.Join(b.TempDir(), "history.db")
	}
	if _, err := os.Stat(path); err != nil {
		generate(b, path, max(events/perTask, 1024))
	}
	x := open(b, path)
	c := overHTTP(b, x)
	b.ReportAllocs()
	seen := 0
	for b.Loop() {
		r, err := verify.Pool(context.Background(), c, "gpu", verify.Options{Now: time.Now})
		if err != nil || r.Events < events/2 {
			b.Fatalf("%+v: %v", r, err)
		}
		seen += r.Events
	}
	b.ReportMetric(float64(seen)/b.Elapsed().Seconds(), "events/s")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/1e6, "MB")
}

// overHTTP is a site as a client sees it.
func overHTTP(t testing.TB, x *site) *client.Client {
	t.Helper()
	a, err := api.New(api.Config{Service: x.Engine, Closing: t.Context().Done()})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(a.Socket())
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
