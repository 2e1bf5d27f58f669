package lot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestRestoredRest checks that a task keeps its backoff on a node that loads the pool: until the stored time, but no
// longer than its own backoff or than the pool's time leaves, since the node that stored the time may have had a clock
// that was ahead.
func TestRestoredRest(t *testing.T) {
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	for name, c := range map[string]struct {
		left     time.Duration // by the instant that was noted
		backoff  time.Duration
		failures int
		asked    time.Duration // what the pool's time leaves
		rests    time.Duration
	}{
		"as noted":                             {2 * time.Second, 5 * time.Second, 1, 0, 2 * time.Second},
		"no longer than its first":             {9 * time.Second, 5 * time.Second, 1, 0, 5 * time.Second},
		"no longer than its second":            {19 * time.Second, 5 * time.Second, 2, 0, 10 * time.Second},
		"over":                                 {0, 5 * time.Second, 1, 0, 0},
		"long over":                            {-time.Second, 5 * time.Second, 1, 0, 0},
		"asked for":                            {time.Minute, 0, 1, time.Minute, time.Minute},
		"asked for some time ago":              {time.Minute, 0, 1, 2 * time.Minute, time.Minute},
		"asked for by a clock that was ahead":  {240 * time.Hour, 0, 1, time.Minute, time.Minute},
		"asked for, and the pool was put back": {240 * time.Hour, 0, 1, 240 * time.Hour, time.Hour},
	} {
		noted := park.At(now.Wall.Add(c.left))
		row := ledger.Pool{Rev: 7, MaxUnits: 1, MaxQueueDepth: 9, State: park.Active, Queued: 1, LastAt: park.At(noted.Add(-c.asked))}
		l := lot.New(lot.Config{
			Pool: "p", Node: "n", Row: row,
			Tasks: []ledger.Record{{
				Spec: ledger.Spec{PoolID: "p", TaskID: "a", Units: 1, Retry: park.Retry{MaxAttempts: 5, Backoff: park.Duration(c.backoff)}},
				State: ledger.State{
					Status: park.Queued, Attempt: c.failures, Failures: c.failures, NotBefore: noted,
				},
			}},
		}, now)
		if err := l.CheckAll(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, next := l.NextTimers()
		if want := now.Mono + c.rests; c.rests > 0 && next != want || c.rests == 0 && next != 0 {
			t.Errorf("%s: something happens at %s, want %s", name, next, want)
		}
		for after := max(0, c.rests-1); after <= c.rests; after++ {
			step, _ := l.Apply(lot.Instant{Wall: now.Wall, Mono: now.Mono + after}, nil, nil)
			if started := len(step.Started) > 0; started != (after == c.rests) {
				t.Errorf("%s: after %s, started is %t", name, after, started)
			}
		}
	}
}

// TestRestoredLease checks what is left of a leased run on a node that loads the pool. The lease gets its whole TTL,
// since its last renewal is unknown. The time limit gets what the pool's time leaves, whatever this node's wall clock
// shows.
func TestRestoredLease(t *testing.T) {
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	for name, c := range map[string]struct {
		ttl, limit, ran time.Duration
		set             time.Duration // this node's wall clock
		ends            time.Duration
		how             park.Action
	}{
		"lease":            {30 * time.Second, 0, time.Hour, 0, 30 * time.Second, park.ActRequeue},
		"lease first":      {30 * time.Second, time.Minute, 10 * time.Second, 0, 30 * time.Second, park.ActRequeue},
		"limit first":      {30 * time.Second, time.Minute, 40 * time.Second, 0, 20 * time.Second, park.ActFail},
		"clock set ahead":  {time.Hour, time.Minute, 40 * time.Second, time.Hour, 20 * time.Second, park.ActFail},
		"clock set back":   {time.Hour, time.Minute, 40 * time.Second, -time.Hour, 20 * time.Second, park.ActFail},
		"beyond its limit": {30 * time.Second, time.Minute, time.Hour, 0, 0, park.ActFail},
	} {
		row := ledger.Pool{Rev: 7, MaxUnits: 1, MaxQueueDepth: 9, State: park.Active, Used: 1, LastAt: now.Wall}
		here := lot.Instant{Wall: park.At(now.Wall.Add(c.set)), Mono: now.Mono}
		l := lot.New(lot.Config{
			Pool: "p", Node: "n", Leased: true, Row: row,
			Tasks: []ledger.Record{{
				Spec:  ledger.Spec{PoolID: "p", TaskID: "a", Units: 1, Timeout: c.limit},
				State: ledger.State{Status: park.Running, Attempt: 1, Node: "m", Lease: "x", LeaseTTL: c.ttl, StartedAt: park.At(now.Wall.Add(-c.ran))},
			}},
		}, here)
		if err := l.CheckAll(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, next := l.NextTimers(); next != now.Mono+c.ends {
			t.Errorf("%s: it ends at %s, want %s", name, next, now.Mono+c.ends)
		}
		if c.ends > 0 {
			if step, _ := l.Apply(lot.Instant{Wall: here.Wall, Mono: now.Mono + c.ends - 1}, nil, nil); len(step.Events) > 0 {
				t.Errorf("%s: ended too early: %v", name, step.Events)
			}
		}
		step, _ := l.Apply(lot.Instant{Wall: here.Wall, Mono: now.Mono + c.ends}, nil, nil)
		if len(step.Events) != 1 || step.Events[0].Action != c.how {
			t.Errorf("%s: %v, want %s", name, step.Events, c.how)
		}
	}
}

// TestKnownLimit checks that a leased run keeps its time limit if another node changes the task in a step whose time
// is far ahead.
func TestKnownLimit(t *testing.T) {
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	row := ledger.Pool{Rev: 7, MaxUnits: 1, MaxQueueDepth: 9, State: park.Active, Used: 1, LastAt: now.Wall}
	r := ledger.Record{
		Spec:  ledger.Spec{PoolID: "p", TaskID: "a", Units: 1, Timeout: time.Minute},
		State: ledger.State{Status: park.Running, Attempt: 1, Node: "m", Lease: "x", LeaseTTL: time.Hour, StartedAt: now.Wall},
	}
	l := lot.New(lot.Config{Pool: "p", Node: "n", Leased: true, Row: row, Tasks: []ledger.Record{r}}, now)
	limit := now.Mono + time.Minute
	row.Rev, row.LastAt = 8, park.At(now.Wall.Add(24*time.Hour))
	r.Cancelled = true
	now.Mono += time.Second
	l.Merge(row, []ledger.Record{r}, now)
	if err := l.CheckAll(); err != nil {
		t.Fatal(err)
	}
	if _, next := l.NextTimers(); next != limit {
		t.Errorf("the run ends at %s, want %s", next, limit)
	}
}

// TestRanksOfThoseThatRest checks that a task requeued at the front of its class takes no rank of a task in a backoff,
// and that these return to their places.
func TestRanksOfThoseThatRest(t *testing.T) {
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	c := lot.Config{Pool: "p", Node: "n", Row: ledger.Pool{Rev: 7, MaxUnits: 1, MaxQueueDepth: 9, State: park.Active, Used: 1, Queued: 4}}
	for i, id := range []string{"a", "b", "c", "d", "e"} {
		r := ledger.Record{
			Spec:  ledger.Spec{PoolID: "p", TaskID: id, Units: 1, Priority: park.Normal, Retry: park.Retry{MaxAttempts: 9, Backoff: park.Duration(time.Minute)}},
			State: ledger.State{Status: park.Queued, Attempt: 1, Failures: 1, Rank: int64(i), NotBefore: park.At(now.Wall.Add(time.Minute))},
		}
		switch id {
		case "d":
			r.State = ledger.State{Status: park.Queued, Rank: int64(i)}
		case "e":
			r.State = ledger.State{Status: park.Running, Attempt: 1, Node: "m", Rank: int64(i)}
		}
		c.Tasks = append(c.Tasks, r)
	}
	l := lot.New(c, now)
	var order []string
	l.HoldStarts(true)
	l.Apply(now, []lot.Op{lot.Requeue{TaskID: "e", Attempt: 1, Reason: park.ReasonNodeLost}}, nil)
	if err := l.CheckAll(); err != nil {
		t.Fatal(err)
	}
	l.HoldStarts(false)
	for after := range 5 {
		now.Mono += time.Minute
		var ops []lot.Op
		if after > 0 {
			last := order[len(order)-1]
			s, _, _ := l.State(last)
			ops = append(ops, lot.Finish{TaskID: last, Attempt: s.Attempt, Outcome: park.Outcome{Status: park.Completed}})
		}
		step, _ := l.Apply(now, ops, nil)
		if err := l.CheckAll(); err != nil || len(step.Started) != 1 {
			t.Fatalf("after %v: %v, %d started", order, err, len(step.Started))
		}
		order = append(order, step.Started[0].TaskID)
	}
	if got := strings.Join(order, ""); got != "eabcd" {
		t.Errorf("they start in the order %s", got)
	}
}
