package loadtest

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/pkg/park"
)

func mixedJobs(o Options, n int) []job {
	w := o.mixed()
	jobs := make([]job, n)
	for i := range jobs {
		jobs[i] = w.next(i)
	}
	return jobs
}

func TestTheMixIsTheSameForASeed(t *testing.T) {
	o := Options{Seed: 7, Work: defaultWork, Rate: 100}
	a, b := mixedJobs(o, 1000), mixedJobs(o, 1000)
	if !slices.Equal(a, b) {
		t.Error("two loads of one seed differ")
	}
	o.Seed = 8
	if slices.Equal(a, mixedJobs(o, 1000)) {
		t.Error("the seed changes nothing")
	}
}

func TestTheMix(t *testing.T) {
	const n = 20_000
	jobs := mixedJobs(Options{Work: defaultWork, Rate: 500}, n)
	byPriority, byUnits, byBox := map[park.Priority]int{}, map[int64]int{}, map[mailbox]int{}
	stops := map[cancelling]int{}
	var fail, limited int
	var work time.Duration
	for i, j := range jobs {
		byPriority[j.priority]++
		byUnits[j.units]++
		byBox[mailbox{j.tenant, j.key}]++
		if stopped := j.cancel != never || j.limit > 0; stopped {
			if j.units != 1 || j.work != endless || j.fail || j.slack > 0 {
				t.Errorf("task %d is to be stopped: %+v", i, j)
			}
			stops[j.cancel]++
			continue
		}
		work += j.work
		if j.fail {
			fail++
		}
		if j.slack > 0 {
			limited++
			if j.slack < leastSlack || j.slack > mostSlack {
				t.Errorf("slack %s", j.slack)
			}
		}
		if i > 0 && j.arrival < jobs[i-1].arrival {
			t.Error("an arrival is before the one before it")
		}
	}
	if len(byPriority) != 4 || len(byUnits) != 8 || len(byBox) != tenants*keysATenant || byUnits[0] != 0 {
		t.Errorf("priorities %v, units %v, %d mailboxes", byPriority, byUnits, len(byBox))
	}
	if stops[never] != n/limitEvery || stops[atOnce] != n/200 || stops[onceRunning] != n/200 {
		t.Errorf("stopped are %v", stops)
	}
	if fail < n/100 || fail > n*3/100 || limited < n*9/100 || limited > n*11/100 {
		t.Errorf("%d fail, %d have a deadline", fail, limited)
	}
	if mean := work / n; mean < 4*time.Millisecond || mean > 6*time.Millisecond {
		t.Errorf("mean work %s", mean)
	}
	if last := jobs[n-1].arrival; last < 38*time.Second || last > 42*time.Second {
		t.Errorf("%d arrivals at 500/s take %s", n, last)
	}
}

func TestTheMixFitsASmallPool(t *testing.T) {
	o := Options{Work: defaultWork, Units: 2}
	for _, j := range mixedJobs(o, 1000) {
		if j.units < 1 || j.units > 2 {
			t.Fatalf("%d units", j.units)
		}
	}
}

func TestSubmission(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	j := job{units: 3, priority: park.High, tenant: "t", key: "k", work: 7 * time.Millisecond, fail: true, slack: time.Second}
	s := j.submission("lt-", 42, at)
	if err := s.Normalize(); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"taskId":"lt-42","tenant":"t","priority":"high","resourceCost":{"units":3},"deadline":"2026-01-01T00:00:01.000000Z",` +
		`"mailboxKey":"lt-k","payload":{"durationMs":7,"fail":true,"result":42}}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestOptions(t *testing.T) {
	good := map[string]Options{
		"nothing": {}, "server": {Server: "http://x", Pool: "gpu", Token: "t"}, "file": {Backend: "file", Restart: true},
		"rate": {Rate: 5, N: 3}, "trace": {Trace: "f", Speed: 60, Units: 134}, "in_memory": {Backend: "in_memory"},
		"postgres of its own": {Backend: "postgres"}, "nodes": {Backend: "postgres", Nodes: 3, Quiet: true, DSN: "postgres:///x"},
	}
	for name, o := range good {
		if _, err := o.complete(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := map[string]Options{
		"negative": {N: -1}, "rate and trace": {Rate: 1, Trace: "f"}, "speed alone": {Speed: 2}, "rate": {Rate: -1},
		"batches that arrive": {Rate: 1, Batch: 2}, "batch": {Batch: 10_001}, "restart in memory": {Restart: true},
		"restart of a server": {Server: "http://x", Restart: true}, "units of a server": {Server: "http://x", Units: 1},
		"pool of its own": {Pool: "gpu"}, "backend": {Backend: "floppy"}, "nodes in memory": {Nodes: 3}, "nodes on file": {Backend: "file", Nodes: 2},
		"DSN for a file": {Backend: "file", DSN: "postgres:///x"}, "too many nodes": {Backend: "postgres", Nodes: 33}, "quiet alone": {Quiet: true},
		"tenant": {Tenant: "\x00"}, "many": {N: 1 << 40}, "speed": {Trace: "f", Speed: -1},
	}
	for name, o := range bad {
		_, err := o.complete()
		if e, ok := errors.AsType[*park.Error](err); !ok || e.Code != park.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	o, _ := Options{}.complete()
	if o.N != 10_000 || o.Concurrency != 64 || o.Backend != "memory" || o.Pool != "load" || o.Program == "" {
		t.Errorf("defaults: %+v", o)
	}
	if o, _ := (Options{Rate: 1}).complete(); o.Concurrency != 1024 {
		t.Errorf("in flight in an open loop: %d", o.Concurrency)
	}
}
