package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// RunNodes tests what a store offers to several nodes: a and b are theirs, on one fresh database.
func RunNodes(t *testing.T, open func(testing.TB) (a, b store.Store)) {
	for name, test := range map[string]func(*testing.T, store.Shared, store.Shared, store.Store){
		"beats and burials":              testBeats,
		"terms that nodes live by":       testTerms,
		"the dead commit nothing":        testDeadCommit,
		"a step is known after others":   testKnownStep,
		"what came since a rev":          testSince,
		"nodes take turns":               testTurns,
		"who is first gets the notes":    testNotes,
		"many notes come in parts":       testNotesInParts,
		"leases that were kept":          testKeptLeases,
		"hints reach whoever listens":    testHints,
		"two burials of one node":        testTwoBurials,
		"the revs of pools, some unborn": testRevsOfPools,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			test(t, a.(store.Shared), b.(store.Shared), b)
		})
	}
}

func beat(t testing.TB, s store.Shared, node string) map[string]int64 {
	t.Helper()
	counters := make(map[string]int64)
	for name, p := range got(s.Heartbeat(t.Context(), node, store.NodeConfig{}))(t) {
		counters[name] = p.Counter
	}
	return counters
}

func testBeats(t *testing.T, a, b store.Shared, _ store.Store) {
	same(t, "alone", beat(t, a, "a"), map[string]int64{"a": 1})
	same(t, "two", beat(t, b, "b"), map[string]int64{"a": 1, "b": 1})
	same(t, "again", beat(t, a, "a"), map[string]int64{"a": 2, "b": 1})
	if got(b.DeclareDead(t.Context(), "a", 1))(t) {
		t.Fatal("a node was buried whose counter had moved on")
	}
	if got(b.DeclareDead(t.Context(), "nobody", 1))(t) {
		t.Fatal("nobody was buried")
	}
	if !got(b.DeclareDead(t.Context(), "a", 2))(t) {
		t.Fatal("a silent node was not buried")
	}
	if _, err := a.Heartbeat(t.Context(), "a", store.NodeConfig{}); !errors.Is(err, store.ErrDead) {
		t.Fatalf("the dead beat: %v", err)
	}
	same(t, "the living", beat(t, b, "b"), map[string]int64{"b": 2})
	same(t, "under another name", beat(t, a, "a2"), map[string]int64{"a2": 1, "b": 2})
	if err := a.RemoveNode(t.Context(), "a2"); err != nil {
		t.Fatal(err)
	}
	same(t, "after one has left", beat(t, b, "b"), map[string]int64{"b": 3})
}

// testTerms has nodes tell each other how long they may be silent, and how they are configured.
func testTerms(t *testing.T, a, b store.Shared, _ store.Store) {
	short, long := store.NodeConfig{TTL: time.Second, Grace: time.Minute}, store.NodeConfig{TTL: time.Hour, Grace: 2}
	short.PoolSettings, long.PoolSettings = `{"cpu":"1"}`, `{"cpu":"2","gpu":"3"}`
	got(a.Heartbeat(t.Context(), "a", short))(t)
	same(t, "of both", got(b.Heartbeat(t.Context(), "b", long))(t), map[string]store.NodeHeartbeat{"a": {Counter: 1, NodeConfig: short}, "b": {Counter: 1, NodeConfig: long}})
	same(t, "changed", got(a.Heartbeat(t.Context(), "a", long))(t), map[string]store.NodeHeartbeat{"a": {Counter: 2, NodeConfig: long}, "b": {Counter: 1, NodeConfig: long}})
}

func testTwoBurials(t *testing.T, a, b store.Shared, _ store.Store) {
	beat(t, a, "dead")
	var c crew
	buried := make(chan bool, racers)
	for i := range racers {
		s := a
		if i%2 == 1 {
			s = b
		}
		c.do(func() error {
			did, err := s.DeclareDead(t.Context(), "dead", 1)
			buried <- did
			return err
		})
	}
	c.wait(t)
	close(buried)
	n := 0
	for did := range buried {
		if did {
			n++
		}
	}
	same(t, "burials", n, 1)
}

func testDeadCommit(t *testing.T, a, b store.Shared, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	step := f.Next()
	step.Node = "a"
	if err := s.Commit(t.Context(), step); !errors.Is(err, store.ErrDead) {
		t.Fatalf("a node that never beat committed: %v", err)
	}
	beat(t, a, "a")
	commit(t, s, step)
	if !got(b.DeclareDead(t.Context(), "a", 1))(t) {
		t.Fatal("not buried")
	}
	before := f.Row
	f.Submit(nil)
	late := f.Next()
	late.Node = "a"
	if err := s.Commit(t.Context(), late); !errors.Is(err, store.ErrDead) {
		t.Fatalf("the dead committed: %v", err)
	}
	same(t, "row", load(t, s, "gpu").Row, before)
	late.Node = ""
	commit(t, s, late)
}

// testKnownStep sends steps again whose replies were lost: one that others came after, and one whose node was buried
// meanwhile.
func testKnownStep(t *testing.T, a, b store.Shared, s store.Store) {
	beat(t, a, "a")
	f := NewFeed("gpu")
	var steps []*store.Step
	for range 200 {
		f.Submit(nil)
		step := f.Next()
		step.Node = "a"
		commit(t, s, step)
		steps = append(steps, step)
	}
	again := func() {
		t.Helper()
		for _, i := range []int{0, 100, 199} {
			commit(t, s, steps[i])
		}
		wantState(t, s, f)
	}
	again()
	if !got(b.DeclareDead(t.Context(), "a", 1))(t) {
		t.Fatal("not buried")
	}
	again()
	other := *steps[199]
	other.ID = "another"
	if err := s.Commit(t.Context(), &other); !errors.Is(err, store.ErrDead) {
		t.Fatalf("the dead committed: %v", err)
	}
}

func testSince(t *testing.T, a, _ store.Shared, s store.Store) {
	f := NewFeed("gpu")
	if c := got(a.ChangesSince(t.Context(), "gpu", 0))(t); c != nil {
		t.Fatalf("of a pool that was never committed: %+v", c)
	}
	f.Submit(nil)
	f.Submit(nil)
	commit(t, s, f.Next())
	if c := got(a.ChangesSince(t.Context(), "gpu", 1))(t); c != nil {
		t.Fatalf("of a pool that is there: %+v", c)
	}
	f.Start("gpu-1")
	commit(t, s, f.Next())
	f.End("gpu-2", park.Dropped, "")
	commit(t, s, f.Next())
	c := got(a.ChangesSince(t.Context(), "gpu", 1))(t)
	if c == nil || c.Reload {
		t.Fatalf("two steps behind: %+v", c)
	}
	byTask(c.Changed)
	same(t, "row", c.Row, f.Row)
	for i := range c.Changed {
		c.Changed[i] = told(c.Changed[i])
	}
	same(t, "changed", c.Changed, []ledger.Record{told(*f.Tasks["gpu-1"]), told(*f.Tasks["gpu-2"])})
}

func testRevsOfPools(t *testing.T, a, _ store.Shared, s store.Store) {
	for i, pool := range []string{"gpu", "cpu"} {
		f := NewFeed(pool)
		for range i + 1 {
			f.Submit(nil)
			commit(t, s, f.Next())
		}
	}
	same(t, "revs", got(a.Revs(t.Context(), []string{"cpu", "gpu", "unborn"}))(t), map[string]int64{"gpu": 1, "cpu": 2})
	same(t, "none", len(got(a.Revs(t.Context(), nil))(t)), 0)
}

func testKeptLeases(t *testing.T, a, b store.Shared, _ store.Store) {
	keep := func(s store.Shared, task, lease string, ttl time.Duration, times int64) {
		t.Helper()
		same(t, "counter", got(s.RenewLease(t.Context(), store.LeaseRenewal{PoolID: "gpu", TaskID: task, Lease: lease, TTL: ttl}))(t), times)
	}
	keep(a, "t1", "l1", time.Second, 1)
	keep(b, "t1", "l1", 2*time.Second, 2)
	keep(b, "t2", "l2", time.Minute, 1)
	want := map[string]store.LeaseRenewal{
		"t1": {PoolID: "gpu", TaskID: "t1", Lease: "l1", Counter: 2, TTL: 2 * time.Second},
		"t2": {PoolID: "gpu", TaskID: "t2", Lease: "l2", Counter: 1, TTL: time.Minute},
	}
	found := make(map[string]store.LeaseRenewal)
	for _, k := range got(a.LeaseRenewals(t.Context(), "gpu", []string{"t2", "t1", "t3"}))(t) {
		found[k.TaskID] = k
	}
	same(t, "leases", found, want)
	same(t, "of another pool", len(got(a.LeaseRenewals(t.Context(), "cpu", slices.Collect(maps.Keys(want))))(t)), 0)
}

func testHints(t *testing.T, a, b store.Shared, _ store.Store) {
	type hint struct {
		pool string
		rev  int64
	}
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan hint, 100)
	done := make(chan error, 1)
	go func() { done <- b.Listen(ctx, func(pool string, rev int64) { heard <- hint{pool, rev} }) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case h := <-heard:
			same(t, "hint", h, hint{"gpu", 7})
			waiting = false
		case err := <-done:
			t.Fatalf("listens no more: %v", err)
		case <-tick.C:
			if err := a.NotifyRev(t.Context(), "gpu", 7); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("ended by %v", err)
	}
}

// turn has a node stand in line with all that it has, and returns how many go first.
func turn(t testing.TB, s store.Shared, pool, node string) int {
	t.Helper()
	return got(s.RequestTurn(t.Context(), pool, node, store.Delegation{}))(t).Ahead
}

// testNotes has nodes leave notes to the one that is first.
func testNotes(t *testing.T, a, b store.Shared, sb store.Store) {
	f := NewFeed("gpu")
	next := func(node string) int {
		t.Helper()
		f.Submit(nil)
		step := f.Next()
		step.Node = node
		commit(t, sb, step)
		return step.NodesWaiting
	}
	stand := func(s store.Shared, node, note string, whole bool) (ahead int, notes string) {
		t.Helper()
		h := store.Delegation{All: whole}
		if note != "" {
			h.Note = []byte(note)
		}
		p := got(s.RequestTurn(t.Context(), "gpu", node, h))(t)
		return p.Ahead, string(bytes.Join(p.Notes, []byte(" ")))
	}
	want := func(s store.Shared, node, note string, whole bool, ahead int, notes string) {
		t.Helper()
		n, found := stand(s, node, note, whole)
		same(t, "before "+node, n, ahead)
		same(t, "notes for "+node, found, notes)
	}
	for _, node := range []string{"a", "b", "c"} {
		beat(t, a, node)
	}
	next("a")
	want(b, "b", "alone", true, 0, "")
	same(t, "after b, who was alone", next("b"), 0)
	want(a, "a", "", false, 0, "")
	want(b, "b", "all of b's", true, 1, "")
	want(b, "c", "some\x00 of c's", false, 1, "")
	want(b, "b", "more", true, 2, "")
	want(a, "a", "its own", false, 0, "all of b's some\x00 of c's more")
	want(b, "b", "", false, 2, "")
	want(b, "b", "now all", true, 2, "")
	same(t, "after a's turn", next("a"), 1)
	want(b, "c", "", false, 0, "now all")
	want(b, "c", "", false, 0, "")
	want(a, "b", "late", true, 1, "")
	same(t, "after c's turn", next("c"), 0)
	want(a, "a", "", false, 0, "late")
	wantState(t, sb, f)
}

// testNotesInParts has nodes leave more than one can take in its turn.
func testNotesInParts(t *testing.T, a, b store.Shared, sb store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	commit(t, sb, f.Next())
	for _, node := range []string{"a", "b", "c"} {
		beat(t, a, node)
	}
	const size = 64 << 10
	turn(t, a, "gpu", "a")
	for i := range 2*store.MaxNoteBytes/size + 3 {
		note := fmt.Sprintf("%0*d", size, i)
		got(b.RequestTurn(t.Context(), "gpu", []string{"b", "c"}[i%2], store.Delegation{Note: []byte(note), All: true}))(t)
	}
	next := 0
	for _, want := range []int{store.MaxNoteBytes / size, store.MaxNoteBytes / size, 3, 0} {
		p := got(a.RequestTurn(t.Context(), "gpu", "a", store.Delegation{}))(t)
		same(t, "notes", len(p.Notes), want)
		for _, note := range p.Notes {
			same(t, "note", string(note), fmt.Sprintf("%0*d", size, next))
			next++
		}
	}
}

// testTurns has three nodes stand in line: by a conflict, by asking, and by asking again.
func testTurns(t *testing.T, a, b store.Shared, sb store.Store) {
	sa := a.(store.Store)
	for _, node := range []string{"a", "b", "c"} {
		beat(t, a, node)
	}
	same(t, "before there is a pool", turn(t, a, "gpu", "a"), 0)
	f := NewFeed("gpu")
	// next has a node store a step in its turn, or out of it, and returns how many others wait.
	next := func(s store.Store, node string) int {
		t.Helper()
		f.Submit(nil)
		step := f.Next()
		step.Node = node
		commit(t, s, step)
		return step.NodesWaiting
	}
	if n := next(sa, "a"); n > 1 { // "a" may have been noted before there was a pool
		t.Fatalf("%d others wait", n)
	}
	same(t, "nobody waits", next(sa, "a"), 0)
	r := newReplica(t, sb, "gpu")
	next(sa, "a")
	late := r.step("gpu", "late")
	late.Node = "b"
	same(t, "before b", wantConflict(t, sb.Commit(t.Context(), late)).NodesAhead, 0)
	late.Node, late.ID = "c", "later"
	same(t, "before c", wantConflict(t, sa.Commit(t.Context(), late)).NodesAhead, 1)
	same(t, "before a", turn(t, a, "gpu", "a"), 2)
	same(t, "before b, who asks", turn(t, b, "gpu", "b"), 0)
	same(t, "before c, who asks", turn(t, b, "gpu", "c"), 1)

	same(t, "after b's turn", next(sb, "b"), 2)
	same(t, "before c, now", turn(t, a, "gpu", "c"), 0)
	same(t, "before b, again", turn(t, b, "gpu", "b"), 2)
	same(t, "after a, who did not wait for c", next(sa, "a"), 1)
	same(t, "before c, who is late", turn(t, a, "gpu", "c"), 1)
	same(t, "before b, at last", turn(t, b, "gpu", "b"), 0)
	same(t, "another pool", turn(t, b, "cpu", "b"), 0)
	same(t, "after one who stood in no line", next(sa, ""), 2)
	wantState(t, sb, f)
}
