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

// RunNodes tests what a store does for several nodes. a and b are the stores of two nodes on one fresh database.
func RunNodes(t *testing.T, open func(testing.TB) (a, b store.Store)) {
	for name, test := range map[string]func(*testing.T, store.Shared, store.Shared, store.Store){
		"heartbeats and dead nodes":             testHeartbeats,
		"what nodes announce of themselves":     testNodeConfig,
		"a dead node commits nothing":           testDeadCommit,
		"a step is known after others":          testKnownStep,
		"what came since a rev":                 testSince,
		"nodes take turns":                      testTurns,
		"notes go to the node whose turn it is": testNotes,
		"many notes come in parts":              testNotesInParts,
		"renewed leases":                        testRenewedLeases,
		"hints reach a listener":                testHints,
		"a node is declared dead once":          testDeclareDeadOnce,
		"the revs of pools, some without steps": testRevsOfPools,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			test(t, a.(store.Shared), b.(store.Shared), b)
		})
	}
}

// beat sends a node's heartbeat, and returns the counters of all living nodes.
func beat(t testing.TB, s store.Shared, node string) map[string]int64 {
	t.Helper()
	counters := make(map[string]int64)
	for name, p := range must(s.Heartbeat(t.Context(), node, store.NodeConfig{}))(t) {
		counters[name] = p.Counter
	}
	return counters
}

func testHeartbeats(t *testing.T, a, b store.Shared, _ store.Store) {
	equal(t, "alone", beat(t, a, "a"), map[string]int64{"a": 1})
	equal(t, "two", beat(t, b, "b"), map[string]int64{"a": 1, "b": 1})
	equal(t, "again", beat(t, a, "a"), map[string]int64{"a": 2, "b": 1})
	if must(b.DeclareDead(t.Context(), "a", 1))(t) {
		t.Fatal("a node was declared dead although its counter had moved on")
	}
	if must(b.DeclareDead(t.Context(), "nobody", 1))(t) {
		t.Fatal("an unknown node was declared dead")
	}
	if !must(b.DeclareDead(t.Context(), "a", 2))(t) {
		t.Fatal("a silent node was not declared dead")
	}
	if _, err := a.Heartbeat(t.Context(), "a", store.NodeConfig{}); !errors.Is(err, store.ErrDead) {
		t.Fatalf("heartbeat of a dead node: %v", err)
	}
	equal(t, "without the dead node", beat(t, b, "b"), map[string]int64{"b": 2})
	equal(t, "under another name", beat(t, a, "a2"), map[string]int64{"a2": 1, "b": 2})
	if err := a.RemoveNode(t.Context(), "a2"); err != nil {
		t.Fatal(err)
	}
	equal(t, "after one has left", beat(t, b, "b"), map[string]int64{"b": 3})
}

// testNodeConfig has nodes announce how long they may be silent, and how they are configured.
func testNodeConfig(t *testing.T, a, b store.Shared, _ store.Store) {
	short, long := store.NodeConfig{TTL: time.Second, Grace: time.Minute}, store.NodeConfig{TTL: time.Hour, Grace: 2}
	short.PoolSettings, long.PoolSettings = `{"cpu":"1"}`, `{"cpu":"2","gpu":"3"}`
	must(a.Heartbeat(t.Context(), "a", short))(t)
	equal(t, "of both", must(b.Heartbeat(t.Context(), "b", long))(t), map[string]store.NodeHeartbeat{"a": {Counter: 1, NodeConfig: short}, "b": {Counter: 1, NodeConfig: long}})
	equal(t, "changed", must(a.Heartbeat(t.Context(), "a", long))(t), map[string]store.NodeHeartbeat{"a": {Counter: 2, NodeConfig: long}, "b": {Counter: 1, NodeConfig: long}})
}

func testDeclareDeadOnce(t *testing.T, a, b store.Shared, _ store.Store) {
	beat(t, a, "dead")
	var c workers
	declared := make(chan bool, writers)
	for i := range writers {
		s := a
		if i%2 == 1 {
			s = b
		}
		c.start(func() error {
			did, err := s.DeclareDead(t.Context(), "dead", 1)
			declared <- did
			return err
		})
	}
	c.wait(t)
	close(declared)
	n := 0
	for did := range declared {
		if did {
			n++
		}
	}
	equal(t, "times that the node was declared dead", n, 1)
}

func testDeadCommit(t *testing.T, a, b store.Shared, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	step := model.Next()
	step.Node = "a"
	if err := s.Commit(t.Context(), step); !errors.Is(err, store.ErrDead) {
		t.Fatalf("a node without a heartbeat committed: %v", err)
	}
	beat(t, a, "a")
	commit(t, s, step)
	if !must(b.DeclareDead(t.Context(), "a", 1))(t) {
		t.Fatal("not declared dead")
	}
	before := model.Row
	model.Submit(nil)
	late := model.Next()
	late.Node = "a"
	if err := s.Commit(t.Context(), late); !errors.Is(err, store.ErrDead) {
		t.Fatalf("a dead node committed: %v", err)
	}
	equal(t, "row", load(t, s, "gpu").Row, before)
	late.Node = ""
	commit(t, s, late)
}

// testKnownStep commits steps again, as after a lost reply: some after later steps, and some after their node was
// declared dead.
func testKnownStep(t *testing.T, a, b store.Shared, s store.Store) {
	beat(t, a, "a")
	model := NewModel("gpu")
	var steps []*store.Step
	for range 200 {
		model.Submit(nil)
		step := model.Next()
		step.Node = "a"
		commit(t, s, step)
		steps = append(steps, step)
	}
	again := func() {
		t.Helper()
		for _, i := range []int{0, 100, 199} {
			commit(t, s, steps[i])
		}
		wantState(t, s, model)
	}
	again()
	if !must(b.DeclareDead(t.Context(), "a", 1))(t) {
		t.Fatal("not declared dead")
	}
	again()
	other := *steps[199]
	other.ID = "another"
	if err := s.Commit(t.Context(), &other); !errors.Is(err, store.ErrDead) {
		t.Fatalf("a dead node committed: %v", err)
	}
}

func testSince(t *testing.T, a, _ store.Shared, s store.Store) {
	model := NewModel("gpu")
	if c := must(a.ChangesSince(t.Context(), "gpu", 0))(t); c != nil {
		t.Fatalf("changes of a pool without steps: %+v", c)
	}
	model.Submit(nil)
	model.Submit(nil)
	commit(t, s, model.Next())
	if c := must(a.ChangesSince(t.Context(), "gpu", 1))(t); c != nil {
		t.Fatalf("changes since the current rev: %+v", c)
	}
	model.Start("gpu-1")
	commit(t, s, model.Next())
	model.End("gpu-2", park.Dropped, "")
	commit(t, s, model.Next())
	c := must(a.ChangesSince(t.Context(), "gpu", 1))(t)
	if c == nil || c.Reload {
		t.Fatalf("two steps behind: %+v", c)
	}
	sortByTask(c.Changed)
	equal(t, "row", c.Row, model.Row)
	for i := range c.Changed {
		c.Changed[i] = asInConflict(c.Changed[i])
	}
	equal(t, "changed", c.Changed, []ledger.Record{asInConflict(*model.Tasks["gpu-1"]), asInConflict(*model.Tasks["gpu-2"])})
}

func testRevsOfPools(t *testing.T, a, _ store.Shared, s store.Store) {
	for i, pool := range []string{"gpu", "cpu"} {
		model := NewModel(pool)
		for range i + 1 {
			model.Submit(nil)
			commit(t, s, model.Next())
		}
	}
	equal(t, "revs", must(a.Revs(t.Context(), []string{"cpu", "gpu", "no-steps"}))(t), map[string]int64{"gpu": 1, "cpu": 2})
	equal(t, "none", len(must(a.Revs(t.Context(), nil))(t)), 0)
}

func testRenewedLeases(t *testing.T, a, b store.Shared, _ store.Store) {
	keep := func(s store.Shared, task, lease string, ttl time.Duration, times int64) {
		t.Helper()
		equal(t, "counter", must(s.RenewLease(t.Context(), store.LeaseRenewal{PoolID: "gpu", TaskID: task, Lease: lease, TTL: ttl}))(t), times)
	}
	keep(a, "t1", "l1", time.Second, 1)
	keep(b, "t1", "l1", 2*time.Second, 2)
	keep(b, "t2", "l2", time.Minute, 1)
	want := map[string]store.LeaseRenewal{
		"t1": {PoolID: "gpu", TaskID: "t1", Lease: "l1", Counter: 2, TTL: 2 * time.Second},
		"t2": {PoolID: "gpu", TaskID: "t2", Lease: "l2", Counter: 1, TTL: time.Minute},
	}
	found := make(map[string]store.LeaseRenewal)
	for _, k := range must(a.LeaseRenewals(t.Context(), "gpu", []string{"t2", "t1", "t3"}))(t) {
		found[k.TaskID] = k
	}
	equal(t, "leases", found, want)
	equal(t, "of another pool", len(must(a.LeaseRenewals(t.Context(), "cpu", slices.Collect(maps.Keys(want))))(t)), 0)
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
			equal(t, "hint", h, hint{"gpu", 7})
			waiting = false
		case err := <-done:
			t.Fatalf("listening has ended: %v", err)
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

// takeTurn queues a node for its turn, with all that it has to do, and returns how many nodes are ahead of it.
func takeTurn(t testing.TB, s store.Shared, pool, node string) int {
	t.Helper()
	return must(s.RequestTurn(t.Context(), pool, node, store.Delegation{}))(t).Ahead
}

// testNotes has nodes leave notes for the node whose turn it is.
func testNotes(t *testing.T, a, b store.Shared, sb store.Store) {
	model := NewModel("gpu")
	next := func(node string) int {
		t.Helper()
		model.Submit(nil)
		step := model.Next()
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
		p := must(s.RequestTurn(t.Context(), "gpu", node, h))(t)
		return p.Ahead, string(bytes.Join(p.Notes, []byte(" ")))
	}
	want := func(s store.Shared, node, note string, whole bool, ahead int, notes string) {
		t.Helper()
		n, found := stand(s, node, note, whole)
		equal(t, "nodes ahead of "+node, n, ahead)
		equal(t, "notes for "+node, found, notes)
	}
	for _, node := range []string{"a", "b", "c"} {
		beat(t, a, node)
	}
	next("a")
	want(b, "b", "alone", true, 0, "")
	equal(t, "after b, who was alone", next("b"), 0)
	want(a, "a", "", false, 0, "")
	want(b, "b", "all of b's", true, 1, "")
	want(b, "c", "some\x00 of c's", false, 1, "")
	want(b, "b", "more", true, 2, "")
	want(a, "a", "its own", false, 0, "all of b's some\x00 of c's more")
	want(b, "b", "", false, 2, "")
	want(b, "b", "now all", true, 2, "")
	equal(t, "after a's turn", next("a"), 1)
	want(b, "c", "", false, 0, "now all")
	want(b, "c", "", false, 0, "")
	want(a, "b", "late", true, 1, "")
	equal(t, "after c's turn", next("c"), 0)
	want(a, "a", "", false, 0, "late")
	wantState(t, sb, model)
}

// testNotesInParts has nodes leave more notes than a node can take in one turn.
func testNotesInParts(t *testing.T, a, b store.Shared, sb store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	commit(t, sb, model.Next())
	for _, node := range []string{"a", "b", "c"} {
		beat(t, a, node)
	}
	const size = 64 << 10
	takeTurn(t, a, "gpu", "a")
	for i := range 2*store.MaxNoteBytes/size + 3 {
		note := fmt.Sprintf("%0*d", size, i)
		must(b.RequestTurn(t.Context(), "gpu", []string{"b", "c"}[i%2], store.Delegation{Note: []byte(note), All: true}))(t)
	}
	next := 0
	for _, want := range []int{store.MaxNoteBytes / size, store.MaxNoteBytes / size, 3, 0} {
		p := must(a.RequestTurn(t.Context(), "gpu", "a", store.Delegation{}))(t)
		equal(t, "notes", len(p.Notes), want)
		for _, note := range p.Notes {
			equal(t, "note", string(note), fmt.Sprintf("%0*d", size, next))
			next++
		}
	}
}

// testTurns has three nodes queue for their turns: after a conflict, by a request, and by a second request.
func testTurns(t *testing.T, a, b store.Shared, sb store.Store) {
	sa := a.(store.Store)
	for _, node := range []string{"a", "b", "c"} {
		beat(t, a, node)
	}
	equal(t, "before there is a pool", takeTurn(t, a, "gpu", "a"), 0)
	model := NewModel("gpu")
	// next has a node commit a step, in its turn or out of turn, and returns how many other nodes wait.
	next := func(s store.Store, node string) int {
		t.Helper()
		model.Submit(nil)
		step := model.Next()
		step.Node = node
		commit(t, s, step)
		return step.NodesWaiting
	}
	if n := next(sa, "a"); n > 1 { // "a" may have been noted before there was a pool
		t.Fatalf("%d others wait", n)
	}
	equal(t, "nobody waits", next(sa, "a"), 0)
	r := newReplica(t, sb, "gpu")
	next(sa, "a")
	late := r.step("gpu", "late")
	late.Node = "b"
	equal(t, "before b", wantConflict(t, sb.Commit(t.Context(), late)).NodesAhead, 0)
	late.Node, late.ID = "c", "later"
	equal(t, "before c", wantConflict(t, sa.Commit(t.Context(), late)).NodesAhead, 1)
	equal(t, "before a", takeTurn(t, a, "gpu", "a"), 2)
	equal(t, "before b, who asks", takeTurn(t, b, "gpu", "b"), 0)
	equal(t, "before c, who asks", takeTurn(t, b, "gpu", "c"), 1)

	equal(t, "after b's turn", next(sb, "b"), 2)
	equal(t, "before c, now", takeTurn(t, a, "gpu", "c"), 0)
	equal(t, "before b, again", takeTurn(t, b, "gpu", "b"), 2)
	equal(t, "after a, who did not wait for c", next(sa, "a"), 1)
	equal(t, "before c, who is late", takeTurn(t, a, "gpu", "c"), 1)
	equal(t, "before b, at last", takeTurn(t, b, "gpu", "b"), 0)
	equal(t, "another pool", takeTurn(t, b, "cpu", "b"), 0)
	equal(t, "after one who stood in no line", next(sa, ""), 2)
	wantState(t, sb, model)
}
