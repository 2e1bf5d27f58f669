package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestWhatIsOwedComesFirst, as much of it as fits into a step, and one at least.
func TestWhatIsOwedComesFirst(t *testing.T) {
	ops := func(n int) message { return &operations{request: request{ops: make([]lot.Op, n)}} }
	result := func(bytes int) message {
		return &operations{request: request{ops: []lot.Op{lot.Finish{Outcome: park.Outcome{Result: make([]byte, bytes)}}}}}
	}
	const half = maxStepBytes/4 - portion.RowBytes/2 // a result is stored twice
	for i, c := range []struct {
		batch, owed []message
		taken       int
	}{
		{nil, []message{ops(1)}, 1},
		{[]message{ops(10)}, []message{ops(500), ops(2), ops(1), ops(1)}, 2},
		{[]message{ops(10)}, []message{ops(500), ops(2)}, 2},
		{[]message{ops(10)}, []message{ops(600), ops(1)}, 1},
		{nil, []message{ops(600), ops(1)}, 1},
		{nil, []message{result(half), result(half)}, 2},
		{nil, []message{result(half), result(half), ops(1)}, 2},
		{nil, []message{result(half), result(half + 1)}, 1},
		{nil, []message{result(4 * half), result(1)}, 1},
	} {
		p := &loop{pool: &pool{}, retries: slices.Clone(c.owed)}
		got := p.withRetries(c.batch)
		if want := append(slices.Clone(c.owed[:c.taken]), c.batch...); !slices.Equal(got, want) || !slices.Equal(p.retries, c.owed[c.taken:]) {
			t.Errorf("%d: %d in the step, %d owed", i, len(got), len(p.retries))
		}
	}
	if countOps([]message{ops(2), ops(0), ops(3)}) != 5 {
		t.Error("five are not asked for")
	}
}

// TestPauses: how long the loop may sleep, by what there is to do.
func TestPauses(t *testing.T) {
	trouble := error(errNotAccepted("cpu"))
	short := &park.ShortageError{Reason: "memory", Err: errors.New("little")}
	braked := func(p *loop, d time.Duration) { p.limiter = startLimiter{shortage: short, until: p.eng.env.Mono() + d} }
	dies := func(d time.Duration) ledger.Record {
		r := testRecord("a", 1, false)
		r.Deadline = park.At(time.Time{}.Add(time.Hour + d))
		return r
	}
	for name, c := range map[string]struct {
		tasks []ledger.Record
		edit  func(p *loop)
		want  time.Duration
	}{
		"nothing":                    {nil, func(*loop) {}, time.Hour},
		"a deadline":                 {[]ledger.Record{dies(3 * time.Second)}, func(*loop) {}, 3 * time.Second},
		"a far deadline":             {[]ledger.Record{dies(time.Hour)}, func(*loop) {}, maxTimer},
		"a deadline that has passed": {[]ledger.Record{dies(-time.Second)}, func(*loop) {}, 0},
		"halted":                     {[]ledger.Record{dies(time.Second)}, func(p *loop) { p.halted = trouble }, time.Hour},
		"refused":                    {nil, func(p *loop) { p.refusalDelay, p.mustReload, p.retries = 5*time.Second, true, make([]message, 1) }, 5 * time.Second},
		"stale":                      {nil, func(p *loop) { p.mustReload = true }, retryInterval},
		"trouble":                    {nil, func(p *loop) { p.stepErr.Store(&trouble) }, time.Hour},
		"trouble and owed":           {nil, func(p *loop) { p.stepErr.Store(&trouble); p.retries = make([]message, 1) }, retryInterval},
		"owed":                       {nil, func(p *loop) { p.retries = make([]message, 1) }, 0},
		"brought":                    {nil, func(p *loop) { p.delegated = make([]delegatedOutcome, 1) }, 0},
		"braked, nothing parked":     {nil, func(p *loop) { braked(p, time.Second) }, time.Hour},
		"braked":                     {[]ledger.Record{testRecord("a", 1, false)}, func(p *loop) { braked(p, time.Second) }, time.Second},
		"braked until now":           {[]ledger.Record{testRecord("a", 1, false)}, func(p *loop) { braked(p, -time.Second) }, 0},
		"braked, with a deadline":    {[]ledger.Record{dies(time.Second)}, func(p *loop) { braked(p, time.Minute) }, time.Second},
		"a deadline, braked":         {[]ledger.Record{dies(4 * time.Second)}, func(p *loop) { braked(p, time.Second) }, time.Second},
		"braked and refused":         {[]ledger.Record{testRecord("a", 1, false)}, func(p *loop) { braked(p, time.Second); p.refusalDelay = time.Minute }, time.Minute},
		"braked and stale":           {[]ledger.Record{testRecord("a", 1, false)}, func(p *loop) { braked(p, time.Millisecond); p.mustReload = true }, retryInterval},
		"braked, and nothing tried":  {[]ledger.Record{testRecord("a", 1, false)}, func(p *loop) { braked(p, time.Second); p.limiter.window, p.limiter.windowLeft = 1, 1 }, time.Hour},
	} {
		p := testLoop(t, ledger.Pool{MaxUnits: 1, Queued: len(c.tasks), State: park.Active}, c.tasks...)
		c.edit(p)
		if got := p.waitTime(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestWhoMustNotStart tasks.
func TestWhoMustNotStart(t *testing.T) {
	dead := func(p *loop) { p.node = cluster.New(t.Context(), nodeConfig(p.eng, nil)) }
	since := func(p *loop, d time.Duration) { // since the last heartbeat
		p.node = nodeAmong(p.eng, nil)
		simulatorOf(p).Pass(d)
	}
	for name, c := range map[string]struct {
		edit func(p *loop)
		held bool
	}{
		"plain":                 {func(*loop) {}, false},
		"draining":              {func(p *loop) { p.drained = make(chan struct{}) }, true},
		"closed":                {func(p *loop) { p.activeRuns.stop(park.ErrShutdown) }, true},
		"idle":                  {func(p *loop) { p.Idle = true }, true},
		"among others, dead":    {dead, true},
		"dead, leased":          {func(p *loop) { dead(p); p.Runtime = park.CloudWorker }, false},
		"leased":                {func(p *loop) { p.Runtime = park.CloudWorker }, false},
		"among others, alive":   {func(p *loop) { since(p, 0) }, false},
		"among others, just so": {func(p *loop) { since(p, time.Minute+1) }, true},
	} {
		p := testLoop(t, ledger.Pool{State: park.Active})
		if c.edit(p); p.startsHeld() != c.held {
			t.Errorf("%s: held %t", name, p.startsHeld())
		}
	}
}

// TestAdoption takes over limits that the configuration has changed, and requeues what ran, unless it runs on elsewhere.
func TestAdoption(t *testing.T) {
	tasks := []ledger.Record{testRecord("a", 1, true), testRecord("b", 1, true), testRecord("c", 1, false)}
	for name, c := range map[string]struct {
		edit func(p *loop)
		want string
	}{
		"as before": {func(*loop) {}, "requeue b requeue a"},
		"units":     {func(p *loop) { p.MaxUnits++ }, "configure 6 10 requeue b requeue a"},
		"depth":     {func(p *loop) { p.MaxQueueDepth++ }, "configure 5 11 requeue b requeue a"},
		"leased":    {func(p *loop) { p.Runtime = park.WebWorker; p.MaxUnits++ }, "configure 6 10"},
		"shared":    {func(p *loop) { p.node = &cluster.Node{} }, ""},
	} {
		p := testLoop(t, ledger.Pool{MaxUnits: 5, MaxQueueDepth: 10, ConfiguredUnits: 5, ConfiguredDepth: 10, Used: 2, Queued: 1, State: park.Active}, tasks...)
		p.MaxUnits, p.MaxQueueDepth = 5, 10
		c.edit(p)
		var got []string
		for _, op := range p.initialOps() {
			switch op := op.(type) {
			case lot.Configure:
				got = append(got, fmt.Sprintf("configure %d %d", *op.Patch.MaxUnits, *op.Patch.MaxQueueDepth))
			case lot.Requeue:
				got = append(got, "requeue "+op.TaskID)
				if op.Attempt != 1 || op.Reason != park.ReasonNodeLost {
					t.Errorf("%s: %+v", name, op)
				}
			}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
}

// TestOtherConfiguration of another node is told of once, and once more when it agrees again.
func TestOtherConfiguration(t *testing.T) {
	var said strings.Builder
	p := testLoop(t, ledger.Pool{ConfiguredUnits: 5, ConfiguredDepth: 10, State: park.Active})
	p.eng.log = slog.New(slog.NewTextHandler(&said, nil))
	for i, c := range []struct {
		units        int64
		depth        int
		warns, infos int
	}{{5, 10, 0, 0}, {6, 10, 1, 0}, {6, 11, 1, 0}, {5, 10, 1, 1}, {5, 10, 1, 1}, {5, 11, 2, 1}, {5, 10, 2, 2}} {
		p.MaxUnits, p.MaxQueueDepth = c.units, c.depth
		p.compareLimits()
		if w, n := strings.Count(said.String(), "WARN"), strings.Count(said.String(), "INFO"); w != c.warns || n != c.infos || p.limitsDiffer != (c.units != 5 || c.depth != 10) {
			t.Errorf("%d: %d warnings, %d that they agree", i, w, n)
		}
	}
}

// TestPoolNeedsItsStores, and an executor or workers.
func TestPoolNeedsItsStores(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(c *Pool)
		want string
	}{
		"all":         {func(*Pool) {}, ""},
		"no queue":    {func(c *Pool) { c.QueueBackend = park.File }, "queue backend"},
		"no mailbox":  {func(c *Pool) { c.MailboxBackend = park.File }, "mailbox backend"},
		"no executor": {func(c *Pool) { c.Executor = nil }, "needs an executor"},
		"leased":      {func(c *Pool) { c.Executor, c.Runtime = nil, park.CloudWorker }, ""},
	} {
		one := Pool{PoolSpec: park.PoolSpec{ID: "cpu", QueueBackend: park.InMemory, MailboxBackend: park.InMemory}, Executor: outcomeFunc(nil)}
		c.edit(&one)
		e := idleLoop(t, true).eng
		e.stores = map[park.Backend]store.Store{park.InMemory: memory.New()}
		if p, err := e.newPool(one); (err == nil) != (c.want == "") || err == nil && (!p.localMail || p.localAudit) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// loadFailure is a store that cannot be read.
type loadFailure struct {
	store.Store
	err error
}

func (s *loadFailure) Load(context.Context, string) (store.Snapshot, error) {
	return store.Snapshot{}, s.err
}

// walkStore is a store that implements store.Walker.
type walkStore struct {
	*memory.Store
	tasks []ledger.Record
	row   ledger.Pool
	err   error
}

func (s *walkStore) Walk(_ context.Context, _ string, each func(*ledger.Record)) (ledger.Pool, error) {
	for i := range s.tasks {
		each(&s.tasks[i])
	}
	return s.row, s.err
}

// TestPoolsBegin: one that others share waits for its store, any other does not begin without it.
func TestPoolsBegin(t *testing.T) {
	away := errors.New("away")
	p := testLoop(t, ledger.Pool{})
	p.pastLogEnd, p.queue = true, &loadFailure{err: away}
	if err := p.initialLoad(t.Context()); !errors.Is(err, away) || p.stepErr.Load() != nil {
		t.Errorf("alone: %v", err)
	}
	c := nodeConfig(p.eng, nil)
	c.Name = "own"
	p.node = cluster.New(t.Context(), c)
	if err := p.initialLoad(cancelledContext()); !errors.Is(err, away) {
		t.Errorf("once nobody waits: %v", err)
	}
	p.lot = nil
	if err := p.initialLoad(t.Context()); err != nil || !p.mustReload || p.lotNode != "own" || p.lot == nil {
		t.Errorf("among others: %v, stale %t, as %q", err, p.mustReload, p.lotNode)
	}
	if err := p.notReady(); !errors.Is(err, away) {
		t.Errorf("its trouble is %v", err)
	}
	p = testLoop(t, ledger.Pool{})
	p.eng.node = "alone"
	p.pastLogEnd = true
	w := &walkStore{tasks: []ledger.Record{testRecord("a", 1, true)}, row: ledger.Pool{Rev: 7, Used: 1, LastAt: park.At(time.Unix(5, 0)), State: park.Active}}
	p.queue = w
	if err := p.initialLoad(t.Context()); err != nil || p.lot.Running() != 1 || p.rev.Load() != 7 || p.loadedAt != w.row.LastAt || p.unsecured || p.lotNode != "alone" {
		t.Errorf("%v, %d running, at %d, %v", err, p.lot.Running(), p.rev.Load(), p.loadedAt)
	}
	if began := p.firstLoaded.Load(); began == nil || began.Rev != 7 {
		t.Errorf("it began as %+v", began)
	}
	w.err = away
	if err := p.initialLoad(t.Context()); !errors.Is(err, away) {
		t.Errorf("cut off: %v", err)
	}
	w.err, w.row.Used = nil, 2
	if err := p.initialLoad(t.Context()); err != nil || park.CodeOf(p.halted) != park.PoolHalted || p.view.Load().Halted == "" {
		t.Errorf("one that contradicts itself: %v, %v", err, p.halted)
	}
}

// TestWhereThingsGo: messages and events of a step go into it, or into entries for where they belong.
func TestWhereThingsGo(t *testing.T) {
	for _, c := range []struct {
		mail, audit, notify bool
		want                string
	}{
		{true, true, false, ""},
		{true, true, true, "notify/cpu notify/cpu"},
		{false, true, false, "mailbox/file mailbox/file"},
		{true, false, false, "audit/file"},
		{false, false, true, "mailbox/file notify/cpu mailbox/file notify/cpu audit/file"},
	} {
		p := newLoop(&pool{Pool: Pool{PoolSpec: park.PoolSpec{ID: "cpu", MailboxBackend: park.File}}, localMail: c.mail, localAudit: c.audit, eng: &Engine{cfg: Config{Audit: park.File}}})
		if c.notify {
			p.Notifier = otherNotifier{}
		}
		s := &lot.Step{Messages: make([]park.Message, 2), Events: make([]park.Event, 1)}
		s.Row.LastAt = park.At(time.Unix(9, 0))
		var st store.Step
		p.pack(&st, s)
		var dests []string
		for _, o := range st.Outbox {
			dests = append(dests, o.Dest)
			if o.Since != s.Row.LastAt || (o.Event != nil) != strings.HasPrefix(o.Dest, "audit") || (o.Message != nil) == (o.Event != nil) {
				t.Errorf("%+v", o)
			}
		}
		if got := strings.Join(dests, " "); got != c.want || len(st.Messages) != 2*btoi(c.mail) || len(st.Events) != btoi(c.audit) {
			t.Errorf("%+v: %q, %d messages, %d events", c, got, len(st.Messages), len(st.Events))
		}
	}
}

// listMeter is a meter that lists its calls.
type listMeter struct {
	noMeter
	all []string
}

func (m *listMeter) Events(_ string, a park.Action, n int) {
	m.all = append(m.all, fmt.Sprint(a, " ", n))
}

func (m *listMeter) QueueWait(_ string, d time.Duration) { m.all = append(m.all, "waited "+d.String()) }
func (m *listMeter) Rejected(_ string, code park.Code)   { m.all = append(m.all, string(code)) }
func (m *listMeter) TaskEnded(_ string, s park.Status, _ string) {
	m.all = append(m.all, "ended "+string(s))
}

// announceRecorder is a shared store that records announcements. cancel is called at the first one of a pool.
type announceRecorder struct {
	store.Shared
	told   []string
	cancel func()
}

func (s *announceRecorder) NotifyRev(_ context.Context, pool string, rev int64) error {
	s.told = append(s.told, fmt.Sprint(pool, " ", rev))
	if pool == "cpu" {
		s.cancel()
	}
	return nil
}

// TestWhoHearsOfAStep: those who wait for what it brought, and nobody else.
func TestWhoHearsOfAStep(t *testing.T) {
	for _, local := range []bool{true, false} {
		m := &listMeter{}
		p := testLoop(t, ledger.Pool{State: park.Active})
		p.eng.meter, p.localMail, p.localAudit = m, local, local
		s := &lot.Step{
			Inserts:  []ledger.Record{testRecord("parked", 1, false), testRecord("started", 1, true)},
			Updates:  []ledger.Update{{TaskID: "back", State: ledger.State{Status: park.Queued}}, {TaskID: "ended", State: ledger.State{Status: park.Failed}}},
			Messages: []park.Message{{Tenant: "t", Key: "box"}},
		}
		s.Inserts[0].Status = park.Queued
		topics := map[topic.Topic]bool{
			topic.Ended("cpu", "parked"): false, topic.Started("cpu", "parked"): false, topic.Ended("cpu", "started"): false, topic.Started("cpu", "started"): true,
			topic.Ended("cpu", "back"): false, topic.Started("cpu", "back"): false, topic.Ended("cpu", "ended"): true, topic.Started("cpu", "ended"): true,
			topic.Mailbox("t", "box"): local, topic.Mailbox("t", "other"): false, topic.Audit(): local, topic.Outbox(p.QueueBackend): true, topic.Outbox("else"): false,
		}
		hear := func() map[topic.Topic]<-chan struct{} {
			rung := make(map[topic.Topic]<-chan struct{})
			for at := range topics {
				rung[at], _ = p.eng.hub.Join(at)
			}
			return rung
		}
		rung := hear()
		p.announce(s) // a step without events is none
		if len(m.all) != 0 || env.Ready(rung[topic.Outbox(p.QueueBackend)]) {
			t.Errorf("of no step: %v", m.all)
		}
		s.Events = []park.Event{{Action: park.ActStart}, {Action: park.ActFail}, {Action: park.ActStart}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		others := &announceRecorder{cancel: cancel}
		config, machine := nodeConfig(p.eng, beatStore{others, map[string]store.NodeHeartbeat{"me": {}, "you": {}}}), &envtest.Machine{Mono: time.Hour}
		config.Env, config.Quiet = env.New(machine), false
		p.node = cluster.New(ctx, config)
		p.node.Add(member{p.pool})
		p.node.Start(&env.Group{Env: config.Env})
		p.rev.Store(7)
		p.announce(s)
		for at, want := range topics {
			if env.Ready(rung[at]) != want {
				t.Errorf("local %t, %v: heard %t", local, at, !want)
			}
		}
		slices.Sort(m.all)
		if got := strings.Join(m.all, ", "); got != "fail 1, start 2" {
			t.Errorf("counted: %s", got)
		}
		machine.Begun[4]() // tells the other nodes of new revs
		if !slices.Equal(others.told, []string{"* 0", "cpu 7"}) {
			t.Errorf("the other nodes are told %q", others.told)
		}
	}
}

// TestWhatCallersAreTold of a step that did not come about.
func TestWhatCallersAreTold(t *testing.T) {
	own := park.Errorf(park.PoolHalted, "halted")
	for name, c := range map[string]struct {
		err     error
		code    park.Code
		foreign bool
		detail  string
	}{
		"own":      {own, park.PoolHalted, false, "halted"},
		"doubt":    {fmt.Errorf("%w: %w", store.ErrInDoubt, own), park.OutcomeUnknown, true, "pool cpu"},
		"refused":  {&store.RefusedError{Err: errors.New("too large")}, park.StorageUnavailable, true, "permanently: too large"},
		"any else": {errors.New("secret"), park.StorageUnavailable, true, "nothing was accepted"},
	} {
		p := testLoop(t, ledger.Pool{State: park.Active})
		told, foreign := p.callerError(c.err)
		if park.CodeOf(told) != c.code || foreign != c.foreign || !strings.Contains(told.Error(), c.detail) || strings.Contains(told.Error(), "secret") {
			t.Errorf("%s: %v, %t", name, told, foreign)
		}
		asks := &operations{request: request{ops: make([]lot.Op, 1), reply: make(chan reply, 1)}}
		looks := &loopFunc{fn: func(*loop) {}, request: request{reply: make(chan reply, 1)}}
		owed := &report{run: &run{}}
		p.fail([]message{asks, looks, owed, &operations{}}, c.err)
		if a := <-asks.reply; park.CodeOf(a.err) != c.code || len(looks.reply) != 0 || !slices.Equal(p.retries, []message{owed}) || !p.failed {
			t.Errorf("%s: answered %v, %d looks, %d owed", name, a.err, len(looks.reply), len(p.retries))
		}
		if p.stepErr.Load() == nil || p.mustReload != (foreign && name != "refused") || (p.refusalDelay > 0) != (name == "refused") {
			t.Errorf("%s: stale %t, rests for %s", name, p.mustReload, p.refusalDelay)
		}
		p.refusalLogged = true
		if p.recordRecovery(); p.stepErr.Load() != nil || p.refusalLogged {
			t.Errorf("%s: it has not recovered", name)
		}
	}
}

// TestAnswers go to who asked, with what each is to be told.
func TestAnswers(t *testing.T) {
	m := &listMeter{}
	p := testLoop(t, ledger.Pool{State: park.Active})
	p.eng.meter = m
	p.runTime.mean = 8 * time.Second
	over := &run{task: "a", cancel: func(error) {}}
	p.runs["a"] = over
	two := &operations{request: request{ops: make([]lot.Op, 2), reply: make(chan reply, 1)}}
	owed := &report{run: over, request: request{ops: make([]lot.Op, 1)}}
	looks := &loopFunc{fn: func(*loop) {}, request: request{reply: make(chan reply, 1)}}
	one := &operations{request: request{ops: make([]lot.Op, 1), reply: make(chan reply, 1)}}
	full, exists := park.Errorf(park.QueueFull, "full"), park.Errorf(park.TaskExists, "exists")
	p.answer([]message{two, owed, looks, one, &operations{}}, []lot.Result{{Err: full}, {Position: 2}, {Position: 3}, {Err: exists}})
	if a := <-two.reply; len(a.results) != 2 || a.results[0].Err != full || a.results[1].Position != 2 || a.err != nil {
		t.Errorf("two: %+v", a)
	}
	if a := <-one.reply; len(a.results) != 1 || a.results[0].Err != exists {
		t.Errorf("one: %+v", a)
	}
	if len(p.runs) != 0 || len(looks.reply) != 0 || full.RetryAfter != 8*time.Second || exists.RetryAfter != 0 {
		t.Errorf("%d runs; again after %s and %s", len(p.runs), full.RetryAfter, exists.RetryAfter)
	}
	if got := strings.Join(m.all, " "); got != string(park.QueueFull)+" "+string(park.TaskExists) {
		t.Errorf("counted: %s", got)
	}
}

// TestClaims: what was given up is left out, and an outcome that is to be stored is over.
func TestClaims(t *testing.T) {
	given, plain, owed := &operations{}, &operations{}, &report{run: &run{}}
	if !given.abandon() {
		t.Fatal("not given up")
	}
	if got := claimAll([]message{given, plain, owed}); !slices.Equal(got, []message{plain, owed}) || !owed.run.returned {
		t.Errorf("%d are claimed, over %t", len(got), owed.run.returned)
	}
}

// TestThoroughLooks come after so many steps, and rarely where much is parked.
func TestThoroughLooks(t *testing.T) {
	p := testLoop(t, ledger.Pool{State: park.Active})
	for i := range 600 {
		if err := p.checkInvariants(); err != nil || p.stepsSinceCheck != (i+1)%257 {
			t.Fatalf("after %d steps it has counted %d: %v", i+1, p.stepsSinceCheck, err)
		}
	}
	tasks := make([]ledger.Record, 2000)
	for i := range tasks {
		tasks[i] = testRecord(fmt.Sprint(i), 1, false)
	}
	p = testLoop(t, ledger.Pool{Queued: len(tasks), State: park.Active}, tasks...)
	for p.stepsSinceCheck = 256; p.stepsSinceCheck != 0; {
		if before := p.stepsSinceCheck; p.checkInvariants() != nil || p.stepsSinceCheck == 0 && before != 500 {
			t.Errorf("it looks after %d steps", before)
		}
	}
	p = testLoop(t, ledger.Pool{Queued: 2, State: park.Active}, testRecord("a", 1, false))
	if err := p.checkInvariants(); err == nil {
		t.Error("a task that is missing is not missed")
	}
}

// TestStartsOfAStep are those that it has not ended again.
func TestStartsOfAStep(t *testing.T) {
	m := &listMeter{}
	p := testLoop(t, ledger.Pool{Used: 2, Queued: 1, State: park.Active}, testRecord("a", 1, true), testRecord("b", 1, true), testRecord("c", 1, false))
	p.eng.meter = m
	at := park.At(time.Unix(1, 0))
	spec := &ledger.Spec{TaskID: "a", SubmittedAt: at}
	p.specs.put(spec)
	own := &ledger.Spec{TaskID: "b", SubmittedAt: at}
	s := &lot.Step{Started: []lot.Started{{TaskID: "a", Attempt: 1}, {TaskID: "b", Attempt: 2, Spec: own}, {TaskID: "b", Attempt: 1}, {TaskID: "c", Attempt: 1}, {TaskID: "gone", Attempt: 1}}}
	s.Row.LastAt = park.At(time.Unix(4, 0))
	got := p.startsHere(s)
	if len(got) != 2 || got[0].spec != spec || got[0].submitted != at || got[1].TaskID != "b" || got[1].Attempt != 1 || got[1].spec != nil {
		t.Errorf("%+v", got)
	}
	if text := strings.Join(m.all, ", "); text != "waited 3s" || len(p.specs.byID) != 0 {
		t.Errorf("counted: %s; %d at hand", text, len(p.specs.byID))
	}
}

// TestRunsAreThoseOfTheLot: after another node's step the runs here are those that run here.
func TestRunsAreThoseOfTheLot(t *testing.T) {
	again, cancelled, elsewhere := testRecord("again", 1, true), testRecord("cancelled", 1, true), testRecord("elsewhere", 1, true)
	again.Attempt, cancelled.Cancelled, elsewhere.Node = 2, true, "other"
	later := testRecord("later", 1, true)
	later.SubmittedAt = park.At(time.Unix(2, 0))
	tasks := []ledger.Record{testRecord("same", 1, true), again, cancelled, elsewhere, later, testRecord("new", 1, true), testRecord("parked", 1, false)}
	p := testLoop(t, ledger.Pool{Used: 6, Queued: 1, State: park.Active}, tasks...)
	w := simulatorOf(p)
	ctxs := make(map[string]context.Context)
	for _, id := range []string{"same", "again", "cancelled", "later", "parked", "gone"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		ctxs[id] = ctx
		p.runs[id] = &run{task: id, attempt: 1, submitted: park.At(time.Unix(1, 0)), cancel: cancel}
	}
	p.Runtime = park.CloudWorker
	p.reconcile()
	for id, ctx := range ctxs {
		if stopped := ctx.Err() != nil; stopped != (id != "same") {
			t.Errorf("%s: stopped %t", id, stopped)
		}
	}
	if len(w.Begun) != 0 || len(p.runs) != 6 {
		t.Errorf("a leased pool begins %d runs", len(w.Begun))
	}
	p.Runtime = park.Native
	old := p.runs["same"]
	p.reconcile()
	if p.runs["same"] != old || p.runs["again"].attempt != 2 || p.runs["later"].submitted != later.SubmittedAt || p.runs["new"] == nil || p.runs["elsewhere"] != nil {
		t.Errorf("%d runs", len(p.runs))
	}
	if len(w.Begun) != 1 { // the reading of all submissions
		t.Errorf("%d begin", len(w.Begun))
	}
}
