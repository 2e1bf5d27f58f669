package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// scriptedStore stores steps, or fails as scripted, and holds records.
type scriptedStore struct {
	*memory.Store
	errs    []error
	steps   []store.Step
	records []ledger.Record
	reads   [][]string
	unread  error
	waiting int
}

func (s *scriptedStore) Commit(_ context.Context, st *store.Step) error {
	n := len(s.steps)
	s.steps = append(s.steps, *st)
	st.NodesWaiting = s.waiting
	if n < len(s.errs) {
		return s.errs[n]
	}
	return nil
}

func (s *scriptedStore) Records(_ context.Context, _ string, ids []string) (all []ledger.Record, err error) {
	s.reads = append(s.reads, slices.Clone(ids))
	for _, r := range s.records {
		if slices.Contains(ids, r.TaskID) {
			all = append(all, r)
		}
	}
	return all, s.unread
}

// scriptedShared is a shared store with scripted changes of other nodes.
type scriptedShared struct {
	store.Shared
	secured   int
	insecure  error
	since     []*store.Conflict // look by look, and then nothing
	sinceRevs []int64
	away      error
}

func (s *scriptedShared) AwaitDurable(context.Context) error {
	s.secured++
	return s.insecure
}

func (s *scriptedShared) ChangesSince(_ context.Context, _ string, rev int64) (c *store.Conflict, err error) {
	if s.sinceRevs = append(s.sinceRevs, rev); len(s.since) > 0 {
		c, s.since = s.since[0], s.since[1:]
	}
	return c, s.away
}

// scriptedPool returns an initialized pool of one unit with such a store; in a cluster if v is not nil.
func scriptedPool(t *testing.T, v *scriptedShared, tasks ...ledger.Record) (*loop, *scriptedStore) {
	row := ledger.Pool{Rev: 7, MaxUnits: 1, MaxQueueDepth: 2, State: park.Active, ConfiguredUnits: 1, ConfiguredDepth: 2}
	for i := range tasks {
		if tasks[i].Status == park.Running {
			row.Used++
		} else {
			row.Queued++
		}
	}
	p, _, _ := loopWithRuns(t, tasks...)
	l := lot.New(lot.Config{Pool: "cpu", Node: "me"}, p.eng.env.Instant())
	for i := range tasks {
		l.Restore(&tasks[i], p.eng.env.Instant())
	}
	l.Merge(row, nil, p.eng.env.Instant())
	s := &scriptedStore{Store: memory.New()}
	p.lot, p.queue, p.initialized, p.MaxUnits, p.MaxQueueDepth = l, s, true, 1, 2
	if v != nil {
		p.node, p.lotNode = nodeAmong(p.eng, v, "z"), "me"
	}
	return p, s
}

// submitOps is a request that submits tasks, each of which costs the pool's one unit.
func submitOps(ids ...string) *operations {
	r := &operations{request: request{reply: make(chan reply, 1)}}
	for _, id := range ids {
		r.ops = append(r.ops, lot.Submit{Spec: &ledger.Spec{PoolID: "cpu", TaskID: id, Tenant: "t", Units: 1, Priority: park.Normal, Digest: 1}})
	}
	return r
}

// TestStepsAreTried: what the store takes is answered, and of what it does not take nothing is left.
func TestStepsAreTried(t *testing.T) {
	away := errors.New("away")
	ended := testRecord("a", 1, false)
	ended.Status, ended.Digest = park.Completed, 1
	for name, c := range map[string]struct {
		tasks   []ledger.Record
		asks    []string
		fails   []error
		holds   []ledger.Record
		wary    int
		unread  error
		err     error
		commits int
		looks   int
		codes   string // of the answers
		left    int    // wary
		rev     int64
	}{
		"taken":            {asks: []string{"a", "b"}, commits: 1, codes: ",", rev: 8},
		"not taken":        {asks: []string{"a"}, fails: []error{away}, err: away, commits: 1, rev: 7},
		"of an ended task": {asks: []string{"a"}, fails: []error{store.ErrTaskExists}, holds: []ledger.Record{ended}, commits: 1, looks: 1, codes: "", left: lookUpSteps - 1, rev: 7},
		"of no task":       {asks: []string{"a"}, fails: []error{store.ErrTaskExists}, commits: 2, looks: 1, codes: "", left: lookUpSteps - 1, rev: 8},
		"taken for ever":   {asks: []string{"a"}, fails: []error{store.ErrTaskExists, store.ErrTaskExists}, err: store.ErrTaskExists, commits: 2, looks: 1, left: lookUpSteps - 1, rev: 7},
		"wary":             {asks: []string{"a"}, wary: 3, commits: 1, looks: 1, codes: "", left: 2, rev: 8},
		"not read":         {asks: []string{"a"}, wary: 3, unread: away, err: away, looks: 1, left: 2, rev: 7},
		"full": {
			tasks: []ledger.Record{testRecord("x", 1, true), testRecord("y", 1, false), testRecord("z", 1, false)}, asks: []string{"a"},
			commits: 1, looks: 1, codes: string(park.QueueFull), left: lookUpSteps - 1, rev: 8,
		},
	} {
		p, s := scriptedPool(t, nil, c.tasks...)
		s.errs, s.records, s.unread, p.lookUpsLeft = c.fails, c.holds, c.unread, c.wary
		p.stepErr.Store(&away)
		p.refusalDelay, p.limiter.windowLeft = time.Second, 5
		log, _ := p.eng.hub.Join(topic.Outbox(p.QueueBackend))
		r := submitOps(c.asks...)
		_, err := p.commitBatch([]message{r})
		var codes []string
		if len(r.reply) == 1 {
			for _, one := range (<-r.reply).results {
				codes = append(codes, string(codeOf(one.Err)))
			}
		}
		if !errors.Is(err, c.err) || len(s.steps) != c.commits || len(s.reads) != c.looks || strings.Join(codes, ",") != c.codes || p.lookUpsLeft != c.left {
			t.Errorf("%s: %v after %d commits and %d looks; answers %q; wary for %d", name, err, len(s.steps), len(s.reads), codes, p.lookUpsLeft)
		}
		took := c.rev == 8
		starts := btoi(took && name != "full")
		if row := p.lot.Row(); row.Rev != c.rev || env.Ready(log) != took || len(p.runs) != starts || p.limiter.windowLeft != 5-starts {
			t.Errorf("%s: the pool is at rev %d, with %d runs; %d starts are left", name, row.Rev, len(p.runs), p.limiter.windowLeft)
		}
		if done := err == nil; (p.stepErr.Load() == nil) != done || (p.refusalDelay == 0) != done {
			t.Errorf("%s: in trouble %t, rests for %s", name, p.stepErr.Load() != nil, p.refusalDelay)
		}
	}
	p, _ := scriptedPool(t, nil)
	trouble := errors.New("before")
	p.split = true
	p.stepErr.Store(&trouble)
	if _, err := p.commitBatch([]message{submitOps("a")}); err != nil || p.stepErr.Load() == nil {
		t.Errorf("a part of a step is taken for all of it: %v", err)
	}
}

// TestAnswersWithoutAStep are as durable as a step.
func TestAnswersWithoutAStep(t *testing.T) {
	away := errors.New("away")
	for name, c := range map[string]struct {
		unsure   bool
		ops      int
		insecure error
		asked    int
		doubt    bool
		left     bool
	}{
		"sure":     {ops: 1, insecure: away},
		"nothing":  {unsure: true, insecure: away, left: true},
		"unsure":   {unsure: true, ops: 1, asked: 1},
		"insecure": {unsure: true, ops: 1, insecure: away, asked: 1, doubt: true, left: true},
	} {
		v := &scriptedShared{insecure: c.insecure}
		p, s := scriptedPool(t, v)
		p.unsecured = c.unsure
		r := &request{reply: make(chan reply, 1), ops: slices.Repeat([]lot.Op{lot.Cancel{TaskID: "nobody"}}, c.ops)}
		_, err := p.commitBatch([]message{r})
		if errors.Is(err, store.ErrInDoubt) != c.doubt || errors.Is(err, away) != c.doubt || v.secured != c.asked || p.unsecured != c.left || len(s.steps) != 0 || (len(r.reply) == 1) == c.doubt {
			t.Errorf("%s: %v, asked %d times, unsure %t", name, err, v.secured, p.unsecured)
		}
	}
}

// TestIDsAreLookedUp but for those of tasks that the lot has, and again where another node has just taken one in.
func TestIDsAreLookedUp(t *testing.T) {
	spec := func(id string) *ledger.Spec { return &ledger.Spec{TaskID: id, Tenant: "t"} }
	parked, ended := testRecord("b", 1, false), testRecord("c", 1, false)
	behind := testRecord("d", 1, false)
	ended.Status, ended.Payload, ended.Command, ended.Result = park.Failed, []byte(`1`), []string{"x"}, []byte(`2`)
	theirs := testRecord("b", 1, false)
	theirs.Status, theirs.Tenant = park.Failed, "other"
	news := func() *store.Conflict {
		return &store.Conflict{Row: ledger.Pool{Rev: 8, MaxUnits: 1, MaxQueueDepth: 2, Queued: 2, State: park.Active, ConfiguredUnits: 1, ConfiguredDepth: 2}, Changed: []ledger.Record{parked}}
	}
	away := errors.New("away")
	for name, c := range map[string]struct {
		ops    []lot.Op
		holds  []ledger.Record
		v      *scriptedShared
		looks  string
		seen   string
		err    error
		unread error
	}{
		"nothing":             {ops: []lot.Op{lot.Cancel{TaskID: "b"}}},
		"live":                {ops: []lot.Op{lot.Submit{Spec: spec("a")}}},
		"none of them":        {ops: []lot.Op{lot.Submit{Spec: spec("b")}, lot.Submit{Spec: spec("c")}}, looks: "b c"},
		"ended":               {ops: []lot.Op{lot.Submit{Spec: spec("b")}, lot.Submit{Spec: spec("c")}}, holds: []ledger.Record{ended}, looks: "b c", seen: "c"},
		"of their own":        {ops: []lot.Op{lot.Submit{Spec: spec("b"), FallbackID: "own"}}, looks: "b own"},
		"live, of its own":    {ops: []lot.Op{lot.Submit{Spec: spec("b"), FallbackID: "a"}}, looks: "b"},
		"just taken":          {ops: []lot.Op{lot.Submit{Spec: spec("b")}, lot.Submit{Spec: spec("c")}}, holds: []ledger.Record{parked, ended}, v: &scriptedShared{since: []*store.Conflict{news()}}, looks: "b c, c", seen: "c"},
		"more is behind":      {ops: []lot.Op{lot.Submit{Spec: spec("b")}, lot.Submit{Spec: spec("d")}}, holds: []ledger.Record{parked, behind}, v: &scriptedShared{since: []*store.Conflict{news(), news()}}, looks: "b d, d", seen: "d"},
		"parked, alone":       {ops: []lot.Op{lot.Submit{Spec: spec("b")}}, holds: []ledger.Record{parked}, looks: "b", seen: "b"},
		"of another tenant":   {ops: []lot.Op{lot.Submit{Spec: spec("b"), FallbackID: "own"}}, holds: []ledger.Record{theirs}, looks: "b own"},
		"ended, among others": {ops: []lot.Op{lot.Submit{Spec: spec("c")}}, holds: []ledger.Record{ended}, v: &scriptedShared{}, looks: "c", seen: "c"},
		"no news":             {ops: []lot.Op{lot.Submit{Spec: spec("b")}}, holds: []ledger.Record{parked}, v: &scriptedShared{}, looks: "b", seen: "b"},
		"news not read":       {ops: []lot.Op{lot.Submit{Spec: spec("b")}}, holds: []ledger.Record{parked}, v: &scriptedShared{away: away}, looks: "b", err: away},
		"not read":            {ops: []lot.Op{lot.Submit{Spec: spec("b")}}, looks: "b", unread: away, err: away},
	} {
		p, s := scriptedPool(t, c.v, testRecord("a", 1, false))
		s.records, s.unread, p.lookUpsLeft = c.holds, c.unread, 1
		ops, err := p.buildOps([]message{&operations{request: request{ops: c.ops[:1]}}, &derived{derive: func(*loop) []lot.Op { return c.ops[1:] }}})
		var looks, seen []string
		for _, one := range s.reads {
			looks = append(looks, strings.Join(one, " "))
		}
		for _, op := range ops {
			if s, ok := op.(lot.Duplicate); ok {
				if seen = append(seen, s.Ended.TaskID); s.Ended.Payload != nil || s.Ended.Command != nil || s.Ended.Result != nil {
					t.Errorf("%s: it holds what %s was sent and has answered", name, s.Ended.TaskID)
				}
			}
		}
		if got := strings.Join(looks, ", "); got != c.looks || strings.Join(seen, " ") != c.seen || !errors.Is(err, c.err) || len(ops) != len(c.ops) || p.lookUpsLeft != 0 {
			t.Errorf("%s: looked for %q, seen %q, %v", name, got, seen, err)
		}
		if c.v != nil && len(c.v.sinceRevs) != 1-btoi(name == "ended, among others") {
			t.Errorf("%s: %d looks at what others did", name, len(c.v.sinceRevs))
		}
	}
	p, s := scriptedPool(t, nil)
	for own, want := range map[string]bool{"": false, "own": true} {
		if _, err := p.buildOps([]message{&operations{request: request{ops: []lot.Op{lot.Submit{Spec: spec("b"), FallbackID: own}}}}}); err != nil || p.lookedUp != want || (len(s.reads) > 0) != want {
			t.Errorf("own id %q: looked %t, %v", own, p.lookedUp, err)
		}
		s.reads = nil
	}
}

// TestCommits are under the name that the lot knows the node by, and say how long they took and who waits.
func TestCommits(t *testing.T) {
	const before = 16 * time.Millisecond
	const quick, slow = before - before/8, before + (maxTurnWait-before)/8
	away := errors.New("away")
	for name, c := range map[string]struct {
		before func(p *loop, s *scriptedStore)
		err    error
		node   string
		took   time.Duration // what is known of it after
	}{
		"alone":    {func(p *loop, _ *scriptedStore) { p.node = nil }, nil, "", quick},
		"alive":    {func(*loop, *scriptedStore) {}, nil, "me", quick},
		"renamed":  {func(p *loop, _ *scriptedStore) { p.lotNode = "before" }, nil, "before", quick},
		"unheard":  {func(p *loop, _ *scriptedStore) { p.node = cluster.New(t.Context(), nodeConfig(p.eng, nil)) }, cluster.ErrNodeLost, "", before},
		"fails":    {func(_ *loop, s *scriptedStore) { s.errs = []error{away} }, away, "me", before},
		"in doubt": {func(_ *loop, s *scriptedStore) { s.errs = []error{store.ErrInDoubt, nil} }, nil, "me", slow},
	} {
		p, s := scriptedPool(t, &scriptedShared{})
		c.before(p, s)
		p.unsecured, p.contenders, p.commitTime, s.waiting = true, 1, before, 3
		p.eng.health = health.New([]park.Backend{p.QueueBackend}, func(park.Backend, string) {})
		p.eng.health.Failed(p.QueueBackend, health.Step)
		w := p.eng.env.Machine.(*envtest.Simulator)
		w.OnWait = func() { w.Pass(retryInterval) }
		step, _ := p.lot.Apply(p.eng.env.Instant(), submitOps("a").ops, nil)
		err := p.commitStep(step, 1)
		if !errors.Is(err, c.err) || p.unsecured != (err != nil) || p.eng.health.Up(p.QueueBackend) != (err == nil) || (p.contenders == 3) != (err == nil) {
			t.Errorf("%s: %v, unsure %t, %d rivals", name, err, p.unsecured, p.contenders)
		}
		if want := 1 + btoi(name == "in doubt") - btoi(name == "unheard"); len(s.steps) != want {
			t.Errorf("%s: %d commits", name, len(s.steps))
			continue
		}
		for _, st := range s.steps {
			if st.Node != c.node || st.PoolID != "cpu" || st.Row.Rev != 8 || st.ID != s.steps[0].ID || st.Row.LastStep != st.ID || len(st.Inserts) != 1 {
				t.Errorf("%s: %+v", name, st)
			}
		}
		if p.commitTime != c.took {
			t.Errorf("%s: a step takes %s, not %s", name, p.commitTime, c.took)
		}
	}
}

// TestWhatIsKnownIsRefreshed where others were let go first, or something is to come after a look, or the pool is stale.
func TestWhatIsKnownIsRefreshed(t *testing.T) {
	away := errors.New("away")
	for name, c := range map[string]struct {
		batch  []message
		before func(p *loop, v *scriptedShared)
		err    error
		looks  int
		called bool
		stale  bool
		loaded bool
	}{
		"nothing":       {batch: []message{&operations{}}, called: true},
		"fresh":         {batch: []message{&operations{}, &refreshRequest{}, &operations{}}, looks: 1},
		"behind":        {before: func(p *loop, _ *scriptedShared) { p.mustCatchUp = true }, looks: 1},
		"alone":         {batch: []message{&refreshRequest{}}, before: func(p *loop, _ *scriptedShared) { p.node = nil }},
		"away":          {batch: []message{&refreshRequest{}}, before: func(_ *loop, v *scriptedShared) { v.away = away }, err: away, looks: 1},
		"reload":        {batch: []message{&operations{}, &refreshRequest{reload: true}, &operations{}}, loaded: true},
		"stale":         {batch: []message{&refreshRequest{}}, before: func(p *loop, _ *scriptedShared) { p.mustReload = true }, loaded: true},
		"cannot reload": {batch: []message{&refreshRequest{reload: true}}, before: func(p *loop, _ *scriptedShared) { p.queue = &loadFailure{err: away} }, err: away, stale: true},
		"halted":        {batch: []message{&refreshRequest{reload: true}}, before: func(p *loop, _ *scriptedShared) { p.halted = away }, err: away, stale: true},
	} {
		v := &scriptedShared{}
		p, _ := scriptedPool(t, v)
		p.pastLogEnd = true
		p.refreshPending.Store(true)
		p.specs.put(&ledger.Spec{TaskID: "a"})
		rung, _ := p.eng.hub.Join(topic.Ended("cpu", "anything"))
		if c.before != nil {
			c.before(p, v)
		}
		old := p.lot
		err := p.refresh(c.batch)
		if !errors.Is(err, c.err) || len(v.sinceRevs) != c.looks || p.refreshPending.Load() != c.called || p.mustReload != c.stale || (p.lot != old) != c.loaded {
			t.Errorf("%s: %v after %d looks; called %t, stale %t, loaded %t", name, err, len(v.sinceRevs), p.refreshPending.Load(), p.mustReload, p.lot != old)
		}
		if env.Ready(rung) != c.loaded || (len(p.specs.byID) == 0) != c.loaded {
			t.Errorf("%s: told %t, %d at hand", name, env.Ready(rung), len(p.specs.byID))
		}
	}
}

// TestWhatOthersDidIsTakenOver, and where it does not make sense all is loaded again.
func TestWhatOthersDidIsTakenOver(t *testing.T) {
	row := ledger.Pool{Rev: 8, MaxUnits: 1, MaxQueueDepth: 2, Queued: 1, State: park.Active, ConfiguredUnits: 1, ConfiguredDepth: 2}
	running := testRecord("a", 1, true)
	used := row
	used.Queued, used.Used = 0, 1
	for name, c := range map[string]struct {
		c          *store.Conflict
		loaded     bool
		rev        int64
		nextAtHand int
		runs       int
	}{
		"nothing of ours": {&store.Conflict{Row: row}, false, 8, 1, 0},
		"another's start": {&store.Conflict{Row: used, Changed: []ledger.Record{running}}, false, 8, 0, 0},
		"reload":          {&store.Conflict{Row: row, Reload: true}, true, 0, 0, 0},
		"no sense":        {&store.Conflict{Row: used}, true, 0, 0, 0},
	} {
		p, _ := scriptedPool(t, &scriptedShared{}, testRecord("a", 1, false))
		p.pastLogEnd = true
		p.specs.put(&ledger.Spec{TaskID: "a", SubmittedAt: runsFrom})
		old := p.lot
		rung, _ := p.eng.hub.Join(topic.Audit())
		p.unsecured = false
		if err := p.merge(c.c); err != nil || (p.lot != old) != c.loaded || p.rev.Load() != c.rev || len(p.specs.byID) != c.nextAtHand || !p.unsecured || !env.Ready(rung) || p.mustReload {
			t.Errorf("%s: %v; loaded %t, at rev %d, %d at hand, unsure %t", name, err, p.lot != old, p.rev.Load(), len(p.specs.byID), p.unsecured)
		}
	}
	p, _ := scriptedPool(t, &scriptedShared{}, testRecord("a", 1, false))
	ours := running
	ours.Node = "me"
	used.ConfiguredUnits = 5
	p.prefetch = &prefetch{}
	if err := p.merge(&store.Conflict{Row: used, Changed: []ledger.Record{ours}}); err != nil || p.runs["a"] == nil || !p.limitsDiffer || p.prefetch != nil {
		t.Errorf("what runs here by the store: %d runs, %v, differs %t", len(p.runs), err, p.limitsDiffer)
	}
}

// TestStepsMeetThoseOfOthers and are decided again, on what the others did.
func TestStepsMeetThoseOfOthers(t *testing.T) {
	p, s := scriptedPool(t, &scriptedShared{})
	row := p.lot.Row()
	row.Rev++
	s.errs = []error{&store.Conflict{Row: row}, &store.Conflict{Row: row}, errAsked}
	m := &conflictMeter{}
	p.eng.meter = m
	r := submitOps("a")
	batch := []message{r}
	left, err := p.commitBatch(batch)
	if !errors.Is(err, errAsked) || !slices.Equal(left, batch) || len(s.steps) != 3 || !p.redecided || m.conflicts != 2 || p.split || len(r.reply) != 0 {
		t.Errorf("%v after %d commits and %d conflicts, again %t", err, len(s.steps), m.conflicts, p.redecided)
	}
	if left, err = p.commitBatch(batch); err != nil || !slices.Equal(left, batch) || len(r.reply) != 1 || p.lot.Row().Rev != 9 || s.steps[2].Row.Rev != 9 {
		t.Errorf("%v; the pool is at rev %d", err, p.lot.Row().Rev)
	}
}

// conflictMeter is a meter that counts conflicts.
type conflictMeter struct {
	noMeter
	conflicts int
}

func (m *conflictMeter) StepRetried(_ park.Backend, why RetryReason) {
	m.conflicts += btoi(why == RetryConflict)
}

// TestStepsAreApplied: what they park is at hand, what they end is forgotten, and what they cancel is stopped.
func TestStepsAreApplied(t *testing.T) {
	m := &listMeter{}
	p, _ := scriptedPool(t, nil, testRecord("a", 1, true))
	p.eng.meter = m
	ctxs := map[string]context.Context{}
	for _, id := range []string{"ends", "cancelled", "goes on"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		ctxs[id] = ctx
		p.runs[id] = &run{task: id, attempt: 1, cancel: cancel}
	}
	s := &lot.Step{
		Inserts: []ledger.Record{{State: ledger.State{Status: park.Queued}}, {State: ledger.State{Status: park.Running}}, {State: ledger.State{Status: park.Dropped}}},
		Specs:   []*ledger.Spec{{TaskID: "parked"}, {TaskID: "started"}, {TaskID: "dropped"}},
		Updates: []ledger.Update{
			{TaskID: "ends", State: ledger.State{Status: park.Completed, Attempt: 1}},
			{TaskID: "goes on", State: ledger.State{Status: park.Running, Attempt: 1}},
			{TaskID: "cancelled", State: ledger.State{Status: park.Running, Attempt: 1, Cancelled: true}},
		},
	}
	p.apply(s)
	if len(p.specs.byID) != 1 || p.specs.byID["parked"] == nil || len(p.runs) != 2 || p.runs["ends"] != nil {
		t.Errorf("%d at hand, %d runs", len(p.specs.byID), len(p.runs))
	}
	if ctxs["goes on"].Err() != nil || ctxs["ends"].Err() == nil || !errors.Is(context.Cause(ctxs["cancelled"]), park.ErrCancelled) {
		t.Errorf("stopped %v, %v, %v", ctxs["goes on"].Err(), ctxs["ends"].Err(), context.Cause(ctxs["cancelled"]))
	}
	if got := strings.Join(m.all, ", "); got != "ended completed, ended dropped" || p.rev.Load() != 7 {
		t.Errorf("counted: %s; shown at rev %d", got, p.rev.Load())
	}
}

// TestLoadingWithALog: a queue that has its log with it goes by itself, and what rests has what is left by the pool's time.
func TestLoadingWithALog(t *testing.T) {
	p, s := scriptedPool(t, nil)
	if err := s.Append(t.Context(), []park.Event{{EventID: "cpu:9:0", PoolID: "cpu", Rev: 9, Action: park.ActStart, At: runsFrom}}); err != nil {
		t.Fatal(err)
	}
	rests := testRecord("a", 1, false)
	rests.NotBefore = park.At(time.Unix(7, 0))
	p.eng.audit, p.localAudit = s, true
	p.queue = &walkStore{Store: s.Store, tasks: []ledger.Record{rests}, row: ledger.Pool{Rev: 3, MaxUnits: 1, MaxQueueDepth: 2, Queued: 1, LastAt: park.At(time.Unix(5, 0)), State: park.Active}}
	if err := p.load(t.Context()); err != nil || p.lot.Row().Rev != 3 || p.lot.Row().LastStep != "" || !p.pastLogEnd {
		t.Errorf("at rev %d, by %q: %v", p.lot.Row().Rev, p.lot.Row().LastStep, err)
	}
	if d, ok := p.untilNextTimer(); !ok || d != 2*time.Second {
		t.Errorf("it rests for %s, %t", d, ok)
	}
}

// liftStore is a store that moves pools as scripted, with a log that is ahead of its queue.
type liftStore struct {
	*walkStore
	errs  []error
	lifts int
	ends  int // how often the end of the log was asked for
}

func (s *liftStore) AdvanceRev(context.Context, string, ledger.Pool) error {
	if s.lifts++; s.lifts <= len(s.errs) {
		return s.errs[s.lifts-1]
	}
	s.row.Rev = 9
	return nil
}

func (s *liftStore) LastRev(context.Context, string) (int64, park.Time, error) {
	s.ends++
	return 9, runsFrom, nil
}

// TestLoadingPastTheLog: a pool that is behind its log is moved and loaded again, unless it could not be moved, and once
// it is known to be past it the log is not asked again.
func TestLoadingPastTheLog(t *testing.T) {
	away := errors.New("away")
	p, s := scriptedPool(t, nil)
	l := &liftStore{walkStore: &walkStore{Store: s.Store, row: ledger.Pool{Rev: 3, MaxUnits: 1, MaxQueueDepth: 2, State: park.Active}}, errs: []error{away}}
	p.eng.audit, p.queue, p.lot = l, l, nil
	if err := p.load(t.Context()); !errors.Is(err, away) || l.lifts != 1 || p.lot != nil {
		t.Errorf("one that cannot be moved: %v after %d tries", err, l.lifts)
	}
	if err := p.load(t.Context()); err != nil || l.lifts != 2 || p.lot == nil || p.lot.Row().Rev != 9 || !p.pastLogEnd {
		t.Errorf("one that can: %v after %d tries", err, l.lifts)
	}
	asked := l.ends
	if err := p.load(t.Context()); err != nil || l.ends != asked || l.lifts != 2 {
		t.Errorf("once more: %v, and the log was asked %d times", err, l.ends-asked)
	}
}

// TestPoolsAreAdopted: a pool is begun with a first request; what cannot be done yet is done later where others share the store.
func TestPoolsAreAdopted(t *testing.T) {
	away := errors.New("away")
	for name, c := range map[string]struct {
		ctx     context.Context
		patient bool
		answer  error
		want    error
	}{
		"alone":              {t.Context(), false, nil, nil},
		"alone, away":        {t.Context(), false, away, away},
		"among others, away": {t.Context(), true, away, nil},
		"nobody waits":       {cancelledContext(), false, nil, context.Canceled},
		"nobody waits, away": {cancelledContext(), true, nil, context.Canceled},
	} {
		p, _ := scriptedPool(t, nil)
		p.retryLoad = c.patient
		p.eng.env.Machine.(*envtest.Simulator).OnWait = func() {
			if c.ctx.Err() == nil {
				r := (<-p.messages).base()
				r.reply <- reply{err: c.answer}
			}
		}
		if err := p.start(c.ctx); !errors.Is(err, c.want) || !p.loopStarted || len(simulatorOf(p).Begun) != 1 {
			t.Errorf("%s: %v, its loop has begun %t", name, err, p.loopStarted)
		}
	}
}
