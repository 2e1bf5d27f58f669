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

// till takes steps, or fails as it is told to, one after the other, and holds records.
type till struct {
	*memory.Store
	fails   []error
	steps   []store.Step
	holds   []ledger.Record
	looks   [][]string
	unread  error
	waiting int
}

func (s *till) Commit(_ context.Context, st *store.Step) error {
	n := len(s.steps)
	s.steps = append(s.steps, *st)
	st.Waiting = s.waiting
	if n < len(s.fails) {
		return s.fails[n]
	}
	return nil
}

func (s *till) Records(_ context.Context, _ string, ids []string) (all []ledger.Record, err error) {
	s.looks = append(s.looks, slices.Clone(ids))
	for _, r := range s.holds {
		if slices.Contains(ids, r.TaskID) {
			all = append(all, r)
		}
	}
	return all, s.unread
}

// vault is what other nodes share.
type vault struct {
	store.Shared
	secured  int
	insecure error
	since    []*store.Conflict // look by look, and then nothing
	from     []int64
	away     error
}

func (s *vault) Secure(context.Context) error {
	s.secured++
	return s.insecure
}

func (s *vault) Since(_ context.Context, _ string, rev int64) (c *store.Conflict, err error) {
	if s.from = append(s.from, rev); len(s.since) > 0 {
		c, s.since = s.since[0], s.since[1:]
	}
	return c, s.away
}

// tilled returns a pool of one unit that is under way, with such a store; among others if v is not nil.
func tilled(t *testing.T, v *vault, tasks ...ledger.Record) (*loop, *till) {
	row := ledger.Pool{Rev: 7, MaxUnits: 1, MaxQueueDepth: 2, State: park.Active, ConfiguredUnits: 1, ConfiguredDepth: 2}
	for i := range tasks {
		if tasks[i].Status == park.Running {
			row.Used++
		} else {
			row.Queued++
		}
	}
	p, _, _ := crewed(t, tasks...)
	l := lot.New(lot.Config{Pool: "cpu", Node: "me"}, p.eng.env.Instant())
	for i := range tasks {
		l.Restore(&tasks[i], p.eng.env.Instant())
	}
	l.Merge(row, nil, p.eng.env.Instant())
	s := &till{Store: memory.New()}
	p.lot, p.queue, p.adopted, p.MaxUnits, p.MaxQueueDepth = l, s, true, 1, 2
	if v != nil {
		p.node, p.as = nodeAmong(p.eng, v, "z"), "me"
	}
	return p, s
}

// submits is a request to take tasks, which each cost the pool's one unit.
func submits(ids ...string) *operations {
	r := &operations{request: request{reply: make(chan reply, 1)}}
	for _, id := range ids {
		r.ops = append(r.ops, lot.Submit{Spec: &ledger.Spec{PoolID: "cpu", TaskID: id, Tenant: "t", Units: 1, Priority: park.Normal, Digest: 1}})
	}
	return r
}

// TestStepsAreTried: what the store takes is answered, and of what it does not take nothing is left.
func TestStepsAreTried(t *testing.T) {
	away := errors.New("away")
	ended := taskOf("a", 1, false)
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
		"of an ended task": {asks: []string{"a"}, fails: []error{store.ErrTaken}, holds: []ledger.Record{ended}, commits: 1, looks: 1, codes: "", left: lookUpSteps - 1, rev: 7},
		"of no task":       {asks: []string{"a"}, fails: []error{store.ErrTaken}, commits: 2, looks: 1, codes: "", left: lookUpSteps - 1, rev: 8},
		"taken for ever":   {asks: []string{"a"}, fails: []error{store.ErrTaken, store.ErrTaken}, err: store.ErrTaken, commits: 2, looks: 1, left: lookUpSteps - 1, rev: 7},
		"wary":             {asks: []string{"a"}, wary: 3, commits: 1, looks: 1, codes: "", left: 2, rev: 8},
		"not read":         {asks: []string{"a"}, wary: 3, unread: away, err: away, looks: 1, left: 2, rev: 7},
		"full": {
			tasks: []ledger.Record{taskOf("x", 1, true), taskOf("y", 1, false), taskOf("z", 1, false)}, asks: []string{"a"},
			commits: 1, looks: 1, codes: string(park.QueueFull), left: lookUpSteps - 1, rev: 8,
		},
	} {
		p, s := tilled(t, nil, c.tasks...)
		s.fails, s.holds, s.unread, p.lookUps = c.fails, c.holds, c.unread, c.wary
		p.trouble.Store(&away)
		p.refusal, p.brake.left = time.Second, 5
		log, _ := p.eng.hub.Join(topic.Outbox(p.QueueBackend))
		r := submits(c.asks...)
		_, err := p.carry([]message{r})
		var codes []string
		if len(r.reply) == 1 {
			for _, one := range (<-r.reply).results {
				codes = append(codes, string(codeOf(one.Err)))
			}
		}
		if !errors.Is(err, c.err) || len(s.steps) != c.commits || len(s.looks) != c.looks || strings.Join(codes, ",") != c.codes || p.lookUps != c.left {
			t.Errorf("%s: %v after %d commits and %d looks; answers %q; wary for %d", name, err, len(s.steps), len(s.looks), codes, p.lookUps)
		}
		took := c.rev == 8
		starts := btoi(took && name != "full")
		if row := p.lot.Row(); row.Rev != c.rev || env.Ready(log) != took || len(p.runs) != starts || p.brake.left != 5-starts {
			t.Errorf("%s: the pool is at rev %d, with %d runs; %d starts are left", name, row.Rev, len(p.runs), p.brake.left)
		}
		if done := err == nil; (p.trouble.Load() == nil) != done || (p.refusal == 0) != done {
			t.Errorf("%s: in trouble %t, rests for %s", name, p.trouble.Load() != nil, p.refusal)
		}
	}
	p, _ := tilled(t, nil)
	trouble := errors.New("before")
	p.split = true
	p.trouble.Store(&trouble)
	if _, err := p.carry([]message{submits("a")}); err != nil || p.trouble.Load() == nil {
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
		v := &vault{insecure: c.insecure}
		p, s := tilled(t, v)
		p.unsure = c.unsure
		r := &request{reply: make(chan reply, 1), ops: slices.Repeat([]lot.Op{lot.Cancel{TaskID: "nobody"}}, c.ops)}
		_, err := p.carry([]message{r})
		if errors.Is(err, store.ErrInDoubt) != c.doubt || errors.Is(err, away) != c.doubt || v.secured != c.asked || p.unsure != c.left || len(s.steps) != 0 || (len(r.reply) == 1) == c.doubt {
			t.Errorf("%s: %v, asked %d times, unsure %t", name, err, v.secured, p.unsure)
		}
	}
}

// TestIDsAreLookedUp but for those of tasks that the lot has, and again where another node has just taken one in.
func TestIDsAreLookedUp(t *testing.T) {
	spec := func(id string) *ledger.Spec { return &ledger.Spec{TaskID: id, Tenant: "t"} }
	parked, ended := taskOf("b", 1, false), taskOf("c", 1, false)
	behind := taskOf("d", 1, false)
	ended.Status, ended.Payload, ended.Command, ended.Result = park.Failed, []byte(`1`), []string{"x"}, []byte(`2`)
	theirs := taskOf("b", 1, false)
	theirs.Status, theirs.Tenant = park.Failed, "other"
	news := func() *store.Conflict {
		return &store.Conflict{Row: ledger.Pool{Rev: 8, MaxUnits: 1, MaxQueueDepth: 2, Queued: 2, State: park.Active, ConfiguredUnits: 1, ConfiguredDepth: 2}, Changed: []ledger.Record{parked}}
	}
	away := errors.New("away")
	for name, c := range map[string]struct {
		ops    []lot.Op
		holds  []ledger.Record
		v      *vault
		looks  string
		seen   string
		err    error
		unread error
	}{
		"nothing":             {ops: []lot.Op{lot.Cancel{TaskID: "b"}}},
		"live":                {ops: []lot.Op{lot.Submit{Spec: spec("a")}}},
		"none of them":        {ops: []lot.Op{lot.Submit{Spec: spec("b")}, lot.Submit{Spec: spec("c")}}, looks: "b c"},
		"ended":               {ops: []lot.Op{lot.Submit{Spec: spec("b")}, lot.Submit{Spec: spec("c")}}, holds: []ledger.Record{ended}, looks: "b c", seen: "c"},
		"of their own":        {ops: []lot.Op{lot.Submit{Spec: spec("b"), OwnID: "own"}}, looks: "b own"},
		"live, of its own":    {ops: []lot.Op{lot.Submit{Spec: spec("b"), OwnID: "a"}}, looks: "b"},
		"just taken":          {ops: []lot.Op{lot.Submit{Spec: spec("b")}, lot.Submit{Spec: spec("c")}}, holds: []ledger.Record{parked, ended}, v: &vault{since: []*store.Conflict{news()}}, looks: "b c, c", seen: "c"},
		"more is behind":      {ops: []lot.Op{lot.Submit{Spec: spec("b")}, lot.Submit{Spec: spec("d")}}, holds: []ledger.Record{parked, behind}, v: &vault{since: []*store.Conflict{news(), news()}}, looks: "b d, d", seen: "d"},
		"parked, alone":       {ops: []lot.Op{lot.Submit{Spec: spec("b")}}, holds: []ledger.Record{parked}, looks: "b", seen: "b"},
		"of another tenant":   {ops: []lot.Op{lot.Submit{Spec: spec("b"), OwnID: "own"}}, holds: []ledger.Record{theirs}, looks: "b own"},
		"ended, among others": {ops: []lot.Op{lot.Submit{Spec: spec("c")}}, holds: []ledger.Record{ended}, v: &vault{}, looks: "c", seen: "c"},
		"no news":             {ops: []lot.Op{lot.Submit{Spec: spec("b")}}, holds: []ledger.Record{parked}, v: &vault{}, looks: "b", seen: "b"},
		"news not read":       {ops: []lot.Op{lot.Submit{Spec: spec("b")}}, holds: []ledger.Record{parked}, v: &vault{away: away}, looks: "b", err: away},
		"not read":            {ops: []lot.Op{lot.Submit{Spec: spec("b")}}, looks: "b", unread: away, err: away},
	} {
		p, s := tilled(t, c.v, taskOf("a", 1, false))
		s.holds, s.unread, p.lookUps = c.holds, c.unread, 1
		ops, err := p.collect([]message{&operations{request: request{ops: c.ops[:1]}}, &derived{make: func(*loop) []lot.Op { return c.ops[1:] }}})
		var looks, seen []string
		for _, one := range s.looks {
			looks = append(looks, strings.Join(one, " "))
		}
		for _, op := range ops {
			if s, ok := op.(lot.Seen); ok {
				if seen = append(seen, s.Ended.TaskID); s.Ended.Payload != nil || s.Ended.Command != nil || s.Ended.Result != nil {
					t.Errorf("%s: it holds what %s was sent and has answered", name, s.Ended.TaskID)
				}
			}
		}
		if got := strings.Join(looks, ", "); got != c.looks || strings.Join(seen, " ") != c.seen || !errors.Is(err, c.err) || len(ops) != len(c.ops) || p.lookUps != 0 {
			t.Errorf("%s: looked for %q, seen %q, %v", name, got, seen, err)
		}
		if c.v != nil && len(c.v.from) != 1-btoi(name == "ended, among others") {
			t.Errorf("%s: %d looks at what others did", name, len(c.v.from))
		}
	}
	p, s := tilled(t, nil)
	for own, want := range map[string]bool{"": false, "own": true} {
		if _, err := p.collect([]message{&operations{request: request{ops: []lot.Op{lot.Submit{Spec: spec("b"), OwnID: own}}}}}); err != nil || p.lookedUp != want || (len(s.looks) > 0) != want {
			t.Errorf("own id %q: looked %t, %v", own, p.lookedUp, err)
		}
		s.looks = nil
	}
}

// TestCommits are under the name that the lot knows the node by, and say how long they took and who waits.
func TestCommits(t *testing.T) {
	const before = 16 * time.Millisecond
	const quick, slow = before - before/8, before + (maxPatience-before)/8
	away := errors.New("away")
	for name, c := range map[string]struct {
		before func(p *loop, s *till)
		err    error
		node   string
		took   time.Duration // what is known of it after
	}{
		"alone":    {func(p *loop, _ *till) { p.node = nil }, nil, "", quick},
		"alive":    {func(*loop, *till) {}, nil, "me", quick},
		"renamed":  {func(p *loop, _ *till) { p.as = "before" }, nil, "before", quick},
		"unheard":  {func(p *loop, _ *till) { p.node = cluster.New(t.Context(), nodeConfig(p.eng, nil)) }, cluster.ErrNodeLost, "", before},
		"fails":    {func(_ *loop, s *till) { s.fails = []error{away} }, away, "me", before},
		"in doubt": {func(_ *loop, s *till) { s.fails = []error{store.ErrInDoubt, nil} }, nil, "me", slow},
	} {
		p, s := tilled(t, &vault{})
		c.before(p, s)
		p.unsure, p.contenders, p.commitTime, s.waiting = true, 1, before, 3
		p.eng.health = health.New([]park.Backend{p.QueueBackend}, func(park.Backend, string) {})
		p.eng.health.Failed(p.QueueBackend, health.Step)
		w := p.eng.env.Machine.(*envtest.Simulator)
		w.OnWait = func() { w.Pass(troubleRest) }
		step, _ := p.lot.Apply(p.eng.env.Instant(), submits("a").ops, nil)
		err := p.commit(step, 1)
		if !errors.Is(err, c.err) || p.unsure != (err != nil) || p.eng.health.Up(p.QueueBackend) != (err == nil) || (p.contenders == 3) != (err == nil) {
			t.Errorf("%s: %v, unsure %t, %d rivals", name, err, p.unsure, p.contenders)
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
		before func(p *loop, v *vault)
		err    error
		looks  int
		called bool
		stale  bool
		loaded bool
	}{
		"nothing":       {batch: []message{&operations{}}, called: true},
		"fresh":         {batch: []message{&operations{}, &followUp{}, &operations{}}, looks: 1},
		"behind":        {before: func(p *loop, _ *vault) { p.mustCatchUp = true }, looks: 1},
		"alone":         {batch: []message{&followUp{}}, before: func(p *loop, _ *vault) { p.node = nil }},
		"away":          {batch: []message{&followUp{}}, before: func(_ *loop, v *vault) { v.away = away }, err: away, looks: 1},
		"reload":        {batch: []message{&operations{}, &followUp{reload: true}, &operations{}}, loaded: true},
		"stale":         {batch: []message{&followUp{}}, before: func(p *loop, _ *vault) { p.stale = true }, loaded: true},
		"cannot reload": {batch: []message{&followUp{reload: true}}, before: func(p *loop, _ *vault) { p.queue = &unloaded{err: away} }, err: away, stale: true},
		"halted":        {batch: []message{&followUp{reload: true}}, before: func(p *loop, _ *vault) { p.halted = away }, err: away, stale: true},
	} {
		v := &vault{}
		p, _ := tilled(t, v)
		p.numbered = true
		p.following.Store(true)
		p.specs.put(&ledger.Spec{TaskID: "a"})
		rung, _ := p.eng.hub.Join(topic.Ended("cpu", "anything"))
		if c.before != nil {
			c.before(p, v)
		}
		old := p.lot
		err := p.refresh(c.batch)
		if !errors.Is(err, c.err) || len(v.from) != c.looks || p.following.Load() != c.called || p.stale != c.stale || (p.lot != old) != c.loaded {
			t.Errorf("%s: %v after %d looks; called %t, stale %t, loaded %t", name, err, len(v.from), p.following.Load(), p.stale, p.lot != old)
		}
		if env.Ready(rung) != c.loaded || (len(p.specs.byID) == 0) != c.loaded {
			t.Errorf("%s: told %t, %d at hand", name, env.Ready(rung), len(p.specs.byID))
		}
	}
}

// TestWhatOthersDidIsTakenOver, and where it does not make sense all is loaded again.
func TestWhatOthersDidIsTakenOver(t *testing.T) {
	row := ledger.Pool{Rev: 8, MaxUnits: 1, MaxQueueDepth: 2, Queued: 1, State: park.Active, ConfiguredUnits: 1, ConfiguredDepth: 2}
	running := taskOf("a", 1, true)
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
		p, _ := tilled(t, &vault{}, taskOf("a", 1, false))
		p.numbered = true
		p.specs.put(&ledger.Spec{TaskID: "a", SubmittedAt: runsFrom})
		old := p.lot
		rung, _ := p.eng.hub.Join(topic.Audit())
		p.unsure = false
		if err := p.merge(c.c); err != nil || (p.lot != old) != c.loaded || p.rev.Load() != c.rev || len(p.specs.byID) != c.nextAtHand || !p.unsure || !env.Ready(rung) || p.stale {
			t.Errorf("%s: %v; loaded %t, at rev %d, %d at hand, unsure %t", name, err, p.lot != old, p.rev.Load(), len(p.specs.byID), p.unsure)
		}
	}
	p, _ := tilled(t, &vault{}, taskOf("a", 1, false))
	ours := running
	ours.Node = "me"
	used.ConfiguredUnits = 5
	p.prefetch = &fetch{}
	if err := p.merge(&store.Conflict{Row: used, Changed: []ledger.Record{ours}}); err != nil || p.runs["a"] == nil || !p.differs || p.prefetch != nil {
		t.Errorf("what runs here by the store: %d runs, %v, differs %t", len(p.runs), err, p.differs)
	}
}

// TestStepsMeetThoseOfOthers and are decided again, on what the others did.
func TestStepsMeetThoseOfOthers(t *testing.T) {
	p, s := tilled(t, &vault{})
	row := p.lot.Row()
	row.Rev++
	s.fails = []error{&store.Conflict{Row: row}, &store.Conflict{Row: row}, errAsked}
	m := &tallied{}
	p.eng.meter = m
	r := submits("a")
	batch := []message{r}
	left, err := p.carry(batch)
	if !errors.Is(err, errAsked) || !slices.Equal(left, batch) || len(s.steps) != 3 || !p.redecided || m.conflicts != 2 || p.split || len(r.reply) != 0 {
		t.Errorf("%v after %d commits and %d conflicts, again %t", err, len(s.steps), m.conflicts, p.redecided)
	}
	if left, err = p.carry(batch); err != nil || !slices.Equal(left, batch) || len(r.reply) != 1 || p.lot.Row().Rev != 9 || s.steps[2].Row.Rev != 9 {
		t.Errorf("%v; the pool is at rev %d", err, p.lot.Row().Rev)
	}
}

// tallied is a meter that counts conflicts.
type tallied struct {
	noMeter
	conflicts int
}

func (m *tallied) Retried(_ park.Backend, why Retry) { m.conflicts += btoi(why == RetryConflict) }

// TestStepsAreApplied: what they park is at hand, what they end is forgotten, and what they cancel is stopped.
func TestStepsAreApplied(t *testing.T) {
	m := &counting{}
	p, _ := tilled(t, nil, taskOf("a", 1, true))
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
	p, s := tilled(t, nil)
	if err := s.Append(t.Context(), []park.Event{{EventID: "cpu:9:0", PoolID: "cpu", Rev: 9, Action: park.ActStart, At: runsFrom}}); err != nil {
		t.Fatal(err)
	}
	rests := taskOf("a", 1, false)
	rests.NotBefore = park.At(time.Unix(7, 0))
	p.eng.audit, p.localAudit = s, true
	p.queue = &walked{Store: s.Store, tasks: []ledger.Record{rests}, row: ledger.Pool{Rev: 3, MaxUnits: 1, MaxQueueDepth: 2, Queued: 1, LastAt: park.At(time.Unix(5, 0)), State: park.Active}}
	if err := p.load(t.Context()); err != nil || p.lot.Row().Rev != 3 || p.lot.Row().LastStep != "" || !p.numbered {
		t.Errorf("at rev %d, by %q: %v", p.lot.Row().Rev, p.lot.Row().LastStep, err)
	}
	if d, ok := p.untilDue(); !ok || d != 2*time.Second {
		t.Errorf("it rests for %s, %t", d, ok)
	}
}

// lifting is a store that moves pools as it is told to, and a log that goes further than its queue.
type lifting struct {
	*walked
	fails []error
	lifts int
	ends  int // how often the end of the log was asked for
}

func (s *lifting) Lift(context.Context, string, ledger.Pool) error {
	if s.lifts++; s.lifts <= len(s.fails) {
		return s.fails[s.lifts-1]
	}
	s.row.Rev = 9
	return nil
}

func (s *lifting) LastRev(context.Context, string) (int64, park.Time, error) {
	s.ends++
	return 9, runsFrom, nil
}

// TestLoadingPastTheLog: a pool that is behind its log is moved and loaded again, unless it could not be moved, and once
// it is known to be past it the log is not asked again.
func TestLoadingPastTheLog(t *testing.T) {
	away := errors.New("away")
	p, s := tilled(t, nil)
	l := &lifting{walked: &walked{Store: s.Store, row: ledger.Pool{Rev: 3, MaxUnits: 1, MaxQueueDepth: 2, State: park.Active}}, fails: []error{away}}
	p.eng.audit, p.queue, p.lot = l, l, nil
	if err := p.load(t.Context()); !errors.Is(err, away) || l.lifts != 1 || p.lot != nil {
		t.Errorf("one that cannot be moved: %v after %d tries", err, l.lifts)
	}
	if err := p.load(t.Context()); err != nil || l.lifts != 2 || p.lot == nil || p.lot.Row().Rev != 9 || !p.numbered {
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
		"nobody waits":       {gone(), false, nil, context.Canceled},
		"nobody waits, away": {gone(), true, nil, context.Canceled},
	} {
		p, _ := tilled(t, nil)
		p.patient = c.patient
		p.eng.env.Machine.(*envtest.Simulator).OnWait = func() {
			if c.ctx.Err() == nil {
				r := (<-p.messages).base()
				r.reply <- reply{err: c.answer}
			}
		}
		if err := p.adopt(c.ctx); !errors.Is(err, c.want) || !p.started || len(simulatorOf(p).Begun) != 1 {
			t.Errorf("%s: %v, its loop has begun %t", name, err, p.started)
		}
	}
}
