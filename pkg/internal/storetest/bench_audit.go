package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// A log of one day: every task has four events, and every fiftieth task expires instead of completing.
const (
	benchTasks   = 250_000
	benchPools   = 4
	benchTenants = 100
	benchDay     = 24 * time.Hour
)

// BenchAudit measures queries of a log of 1,000,000 events of one day. Each query reads its first 100 events.
func BenchAudit(b *testing.B, open Open) {
	if testing.Short() {
		b.Skip("it takes a while to write a million events")
	}
	s := open(b)
	began := time.Now()
	fillLog(b, s)
	b.Logf("1,000,000 events written in %v", time.Since(began).Round(time.Millisecond))
	for _, q := range auditBenchmarks() {
		b.Run(q.name, func(b *testing.B) { benchQuery(b, s, q) })
	}
}

// auditBenchmark is a kind of query to measure.
type auditBenchmark struct {
	name  string
	want  int                             // how many events it finds; -1 if that varies
	query func(i int) (q park.AuditQuery) // the i-th query
}

func auditBenchmarks() []auditBenchmark {
	at := func(i int) park.Time { return park.At(Epoch().Add(benchDay * time.Duration(i*7919%1000) / 1000)) }
	tenant := func(i int) string { return "tenant-" + strconv.Itoa(i%benchTenants) }
	pool := func(i int) string { return "pool-" + strconv.Itoa(i%benchPools) }
	return []auditBenchmark{
		{"task", 4, func(i int) park.AuditQuery { return park.AuditQuery{TaskID: benchTaskID(i * 7919 % benchTasks)} }},
		{"tenant", 100, func(i int) park.AuditQuery { return park.AuditQuery{Tenant: tenant(i)} }},
		{"pool", 100, func(i int) park.AuditQuery { return park.AuditQuery{PoolID: pool(i)} }},
		{"action", 100, func(int) park.AuditQuery { return park.AuditQuery{Action: park.ActExpire} }},
		{"since", 100, func(i int) park.AuditQuery { return park.AuditQuery{Since: at(i % 990)} }},
		{"tenant since", -1, func(i int) park.AuditQuery { return park.AuditQuery{Tenant: tenant(i), Since: at(i)} }},
		{"pool since", -1, func(i int) park.AuditQuery { return park.AuditQuery{PoolID: pool(i), Since: at(i)} }},
		{"pool tenant action since", -1, func(i int) park.AuditQuery {
			return park.AuditQuery{PoolID: pool(i), Tenant: tenant(i), Action: park.ActStart, Since: at(i)}
		}},
		{"pool after a cursor", -1, func(i int) park.AuditQuery {
			return park.AuditQuery{PoolID: pool(i), Cursor: park.EventID(pool(i), int64(i*7919%(benchTasks/benchPools))+1, 3)}
		}},
		{"until before all", 0, func(i int) park.AuditQuery { return park.AuditQuery{Tenant: tenant(i), Until: park.At(Epoch())} }},
		{"nobody", 0, func(int) park.AuditQuery { return park.AuditQuery{Tenant: "nobody", Action: park.ActStart} }},
	}
}

func benchQuery(b *testing.B, s store.Store, q auditBenchmark) {
	took := make([]time.Duration, 0, 1024)
	for i := 0; b.Loop(); i++ {
		query := q.query(i)
		query.Limit = 100
		began := time.Now()
		found, err := s.Events(b.Context(), query)
		took = append(took, time.Since(began))
		if err != nil || (q.want >= 0 && len(found) != q.want) {
			b.Fatalf("%+v: %d events, want %d, %v", query, len(found), q.want, err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
}

func benchTaskID(i int) string { return fmt.Sprintf("019af00d-%08d", i) }

// fillLog appends the events of all tasks in the order of time, those of one task together.
func fillLog(b *testing.B, s store.Store) {
	var batch []park.Event
	for i := range benchTasks {
		last := park.ActComplete
		if i%50 == 0 {
			last = park.ActExpire
		}
		e := park.Event{
			PoolID: "pool-" + strconv.Itoa(i%benchPools), Rev: int64(i/benchPools) + 1, TaskID: benchTaskID(i), Units: 1, Attempt: 1,
			Tenant: "tenant-" + strconv.Itoa(i*7919%benchTenants), At: park.At(Epoch().Add(benchDay / benchTasks * time.Duration(i))),
		}
		for ord, a := range []park.Action{park.ActSubmit, park.ActEnqueue, park.ActStart, last} {
			e.Ord, e.Action = ord, a
			batch = append(batch, e)
		}
		if len(batch) == 8192 || i == benchTasks-1 {
			if err := s.Append(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch = nil
		}
	}
}
