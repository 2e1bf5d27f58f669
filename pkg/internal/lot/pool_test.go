package lot

import (
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

func noon() Instant { return Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour} }

// TestResume checks that the next step, and only that, has an event with the pool's state from here on.
func TestResume(t *testing.T) {
	l := New(Config{Pool: "p", Row: ledger.Pool{Rev: 5, MaxUnits: 3, MaxQueueDepth: 4, State: park.Paused}}, noon())
	l.RecordResume(TasksLost)
	step, _ := l.Apply(noon(), nil, nil)
	const want = `{"resumed":{"tasks":"lost","maxUnits":3,"maxQueueDepth":4,"state":"paused"}}`
	if len(step.Events) != 1 || string(step.Events[0].Detail) != want || step.Events[0].Action != park.ActUpdate || step.Row.Rev != 6 {
		t.Errorf("rev %d: %+v", step.Row.Rev, step.Events)
	}
	if step, _ := l.Apply(noon(), nil, nil); len(step.Events) > 0 {
		t.Errorf("it is told again: %+v", step.Events)
	}
}

// TestConfigured checks that limits are stored as those of the configuration, once, if they come from there.
func TestConfigured(t *testing.T) {
	l := New(Config{Pool: "p", Row: ledger.Pool{MaxUnits: 3, MaxQueueDepth: 4, State: park.Active, ConfiguredUnits: 3, ConfiguredDepth: 4}}, noon())
	units, depth := int64(5), 6
	for _, c := range []struct {
		fromFile    bool
		patch       park.PoolPatch
		detail      string
		units       int64
		depth       int
		ofFile      int64
		depthOfFile int
	}{
		{false, park.PoolPatch{MaxUnits: &units}, `{"maxUnits":{"from":3,"to":5}}`, 5, 4, 3, 4},
		{false, park.PoolPatch{MaxUnits: &units}, "", 5, 4, 3, 4},
		{true, park.PoolPatch{MaxUnits: &units}, `{"configured":{"from":3,"to":5}}`, 5, 4, 5, 4},
		{true, park.PoolPatch{MaxUnits: &units}, "", 5, 4, 5, 4},
		{true, park.PoolPatch{MaxQueueDepth: &depth}, `{"maxQueueDepth":{"from":4,"to":6},"configured":{"from":5,"to":5}}`, 5, 6, 5, 6},
	} {
		step, results := l.Apply(noon(), []Op{Configure{Patch: c.patch, FromFile: c.fromFile}}, nil)
		detail := ""
		if len(step.Events) > 0 {
			detail = string(step.Events[0].Detail)
		}
		r := step.Row
		if detail != c.detail || r.MaxUnits != c.units || r.MaxQueueDepth != c.depth || r.ConfiguredUnits != c.ofFile || r.ConfiguredDepth != c.depthOfFile || results[0].Err != nil {
			t.Errorf("%+v: %s, %+v", c, detail, r)
		}
	}
}

// TestTotalsThatCannotBe checks that a lot with wrong totals reports them.
func TestTotalsThatCannotBe(t *testing.T) {
	for name, spoil := range map[string]func(*Lot){
		"units":             func(l *Lot) { l.used++; l.row.Used++ },
		"parked":            func(l *Lot) { l.queued++; l.row.Queued++ },
		"running":           func(l *Lot) { l.running++ },
		"row of units":      func(l *Lot) { l.row.Used++ },
		"row of parked":     func(l *Lot) { l.row.Queued-- },
		"negative":          func(l *Lot) { l.tasks.find("a").units, l.used, l.row.Used = -1, -1, -1 },
		"over the capacity": func(l *Lot) { l.row.MaxUnits = 1 },
	} {
		l := New(Config{Pool: "p", Row: ledger.Pool{MaxUnits: 2, MaxQueueDepth: 4, State: park.Active}}, noon())
		l.Apply(noon(), []Op{
			Submit{Spec: &ledger.Spec{TaskID: "a", Units: 2, Priority: park.Normal}}, Submit{Spec: &ledger.Spec{TaskID: "b", Units: 2, Priority: park.Normal}},
		}, nil)
		if err := l.Check(); err != nil || !l.MatchesRow() {
			t.Fatal(err)
		}
		spoil(l)
		if err := l.Check(); err == nil {
			t.Errorf("%s: nothing is said", name)
		}
		if agrees := l.MatchesRow(); agrees == (name == "row of units" || name == "row of parked") {
			t.Errorf("%s: agrees is %t", name, agrees)
		}
	}
	l := New(Config{Pool: "p", Row: ledger.Pool{MaxUnits: 2, MaxQueueDepth: 4, State: park.Active}}, noon())
	for _, spoil := range []func(){func() { l.used, l.row.Used = -1, -1 }, func() { l.queued, l.row.Queued = -1, -1 }, func() { l.running = -1 }} {
		l.used, l.queued, l.running, l.row.Used, l.row.Queued = 0, 0, 0, 0, 0
		spoil()
		if l.CheckTotals() == nil {
			t.Error("a negative total is sane")
		}
	}
}

// TestKeptIDs checks under which id a task is stored if another tenant's task has, or had, its id.
func TestKeptIDs(t *testing.T) {
	ended := &ledger.Record{}
	for name, c := range map[string]struct {
		live    string // the tenant of a live task with the id
		own     bool   // a task with the tenant's own form of the id lives
		ownID   string
		foreign bool
		ended   *ledger.Record
		want    string
	}{
		"nobody has it":           {"", false, "a@t", false, nil, "a"},
		"no other form":           {"u", false, "", false, nil, "a"},
		"its own":                 {"t", false, "a@t", false, nil, "a"},
		"another's":               {"u", false, "a@t", false, nil, "a@t"},
		"another had it":          {"", false, "a@t", true, nil, "a@t"},
		"its own form lives":      {"", true, "a@t", false, nil, "a@t"},
		"its own form has ended":  {"", false, "a@t", false, ended, "a@t"},
		"its own, and own form":   {"t", true, "a@t", false, nil, "a"},
		"its own, another had it": {"t", false, "a@t", true, nil, "a"},
	} {
		l := New(Config{Pool: "p", Row: ledger.Pool{MaxUnits: 9, MaxQueueDepth: 4, State: park.Active}}, noon())
		if c.live != "" {
			l.Apply(noon(), []Op{Submit{Spec: &ledger.Spec{TaskID: "a", Tenant: c.live, Units: 1, Priority: park.Normal}}}, nil)
		}
		if c.own {
			l.Apply(noon(), []Op{Submit{Spec: &ledger.Spec{TaskID: "a@t", Tenant: "t", Units: 1, Priority: park.Normal}}}, nil)
		}
		o := Submit{Spec: &ledger.Spec{TaskID: "a", Tenant: "t"}, FallbackID: c.ownID, IDTaken: c.foreign, Ended: c.ended}
		if got := o.resolveID(l).TaskID; got != c.want || o.Spec.TaskID != "a" {
			t.Errorf("%s: kept as %s, want %s", name, got, c.want)
		}
	}
}

// TestRunsOfAnotherLife checks that an op for one run does not change a later task of the same id, nor another run.
func TestRunsOfAnotherLife(t *testing.T) {
	done := park.Outcome{Status: park.Completed}
	at := noon().Wall
	before := park.At(at.Add(-time.Second))
	for name, c := range map[string]struct {
		op    Op
		stale bool
	}{
		"finish":                    {Finish{TaskID: "a", Attempt: 1, Outcome: done}, false},
		"finish of this life":       {Finish{TaskID: "a", Attempt: 1, SubmittedAt: at, Outcome: done}, false},
		"finish of another life":    {Finish{TaskID: "a", Attempt: 1, SubmittedAt: before, Outcome: done}, true},
		"finish of another run":     {Finish{TaskID: "a", Attempt: 2, Outcome: done}, true},
		"finish for a lease":        {Finish{TaskID: "a", Attempt: 1, Lease: "x", Outcome: done}, true},
		"finish of a parked task":   {Finish{TaskID: "b", Attempt: 0, Outcome: done}, true},
		"finish of nothing":         {Finish{TaskID: "x", Attempt: 1, Outcome: done}, true},
		"requeue":                   {Requeue{TaskID: "a", Attempt: 1}, false},
		"requeue of this life":      {Requeue{TaskID: "a", Attempt: 1, SubmittedAt: at}, false},
		"requeue of another life":   {Requeue{TaskID: "a", Attempt: 1, SubmittedAt: before}, true},
		"requeue of another run":    {Requeue{TaskID: "a", Attempt: 0}, true},
		"requeue for a lease":       {Requeue{TaskID: "a", Attempt: 1, Lease: "x"}, true},
		"requeue of a parked task":  {Requeue{TaskID: "b", Attempt: 0}, true},
		"requeue of nothing":        {Requeue{TaskID: "x", Attempt: 1}, true},
		"keep of what has no lease": {RenewLease{TaskID: "a", Lease: "x"}, true},
		"keep of a parked task":     {RenewLease{TaskID: "b"}, true},
		"keep of nothing":           {RenewLease{TaskID: "x"}, true},
		"cancel of nothing":         {Cancel{TaskID: "x"}, true},
	} {
		l := New(Config{Pool: "p", Node: "n", Row: ledger.Pool{MaxUnits: 1, MaxQueueDepth: 4, State: park.Active}}, noon())
		step, _ := l.Apply(noon(), []Op{
			Submit{Spec: &ledger.Spec{TaskID: "a", Units: 1, Priority: park.Normal}}, Submit{Spec: &ledger.Spec{TaskID: "b", Units: 1, Priority: park.Normal}},
		}, nil)
		for _, e := range step.Events {
			if (e.Node == "n") != (e.Action == park.ActStart) {
				t.Errorf("%s: the event is of node %q: %+v", name, e.Node, e)
			}
		}
		step, results := l.Apply(noon(), []Op{c.op}, nil)
		if results[0].Stale != c.stale || (len(step.Events) == 0) != c.stale {
			t.Errorf("%s: stale is %t, %d events", name, results[0].Stale, len(step.Events))
		}
	}
}
