package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/relay"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

var errAsked = errors.New("not now")

// fakeShared is a shared store that holds records and leases, and can fail.
type fakeShared struct {
	store.Shared
	bytes       int // of each payload
	result      int // and of each result
	reads       []int
	err         error
	kept        []store.LeaseRenewal
	asked       []string
	before      func() // an answer
	rev         int64
	since       *store.Conflict
	records     []ledger.Record // instead
	placesAhead []int           // what the line says, look by look, the last for ever
	hands       []store.Delegation
}

// fakeQueue is a fakeShared as the queue of a pool.
type fakeQueue struct {
	store.Queue
	*fakeShared
}

func (l fakeQueue) Records(_ context.Context, _ string, ids []string) (all []ledger.Record, err error) {
	l.reads = append(l.reads, len(ids))
	if l.records != nil {
		return l.records, l.err
	}
	for _, id := range ids {
		all = append(all, ledger.Record{Spec: ledger.Spec{TaskID: id, Payload: make([]byte, l.bytes)}, State: ledger.State{Result: make([]byte, l.result)}})
	}
	return all, l.err
}

func (l *fakeShared) LeaseRenewals(_ context.Context, _ string, ids []string) ([]store.LeaseRenewal, error) {
	l.asked = slices.Sorted(slices.Values(ids))
	if l.before != nil {
		l.before()
	}
	return l.kept, l.err
}

func (l *fakeShared) RequestTurn(_ context.Context, _, _ string, h store.Delegation) (store.Turn, error) {
	l.hands = append(l.hands, h)
	if len(l.placesAhead) == 0 {
		return store.Turn{Ahead: 1}, errAsked
	}
	return store.Turn{Ahead: l.placesAhead[min(len(l.hands), len(l.placesAhead))-1]}, nil
}

func (l *fakeShared) ChangesSince(_ context.Context, _ string, rev int64) (*store.Conflict, error) {
	l.rev = rev
	return l.since, l.err
}

// newLoop returns a loop that does not run, of a pool in the shared store.
func (l *fakeShared) newLoop(c *envtest.Machine) *loop {
	p := stoppedLoop()
	e := p.eng
	e.env, e.log, e.meter, e.ctx, e.node = env.New(c), slog.New(slog.DiscardHandler), noMeter{}, context.Background(), "me"
	p.node, p.queue, p.ctx, p.renewals = cluster.New(e.ctx, nodeConfig(e, l)), fakeQueue{fakeShared: l}, e.ctx, map[string]int64{}
	p.ID = "remote"
	e.pools = map[string]*pool{"remote": p.pool}
	return p
}

// TestReadsInPortions: what is read at once is bounded by what was read before, and all is read.
func TestReadsInPortions(t *testing.T) {
	for _, c := range []struct {
		bytes, result int
		most          int64 // of a result of the pool
		reads         []int
	}{
		{0, 0, 0, []int{64, 36}},
		{1 << 20, 0, 0, []int{64, 7, 7, 7, 7, 7, 1}},
		{0, 1 << 20, 0, []int{64, 7, 7, 7, 7, 7, 1}},
		{1 << 10, 0, 64 << 20, []int{1, 4, 16, 64, 15}},
		{0, 0, 1, []int{64, 36}},
	} {
		l := &fakeShared{bytes: c.bytes, result: c.result}
		p := l.newLoop(&envtest.Machine{})
		p.MaxResultBytes = c.most
		var ids, got []string
		for i := range 100 {
			ids = append(ids, fmt.Sprint(i))
		}
		if err := p.readRecords(ids, func(r *ledger.Record) { got = append(got, r.TaskID) }); err != nil || !slices.Equal(got, ids) {
			t.Errorf("%+v: %d records, %v", c, len(got), err)
		}
		if !slices.Equal(l.reads, c.reads) {
			t.Errorf("%+v: read in portions of %v", c, l.reads)
		}
		l.err = errAsked
		if _, err := p.readSpecs(ids); !errors.Is(err, errAsked) {
			t.Errorf("a store that fails: %v", err)
		}
	}
}

// TestSubmissionsAreFilledIn: from what was read, unless that is of another task with the id.
func TestSubmissionsAreFilledIn(t *testing.T) {
	p := (&fakeShared{}).newLoop(&envtest.Machine{})
	own, other := &ledger.Spec{TaskID: "a", SubmittedAt: park.FromMicro(1)}, &ledger.Spec{TaskID: "b", SubmittedAt: park.FromMicro(2)}
	begin := func(ids string) (all []runStart) {
		for id := range strings.FieldsSeq(ids) {
			all = append(all, runStart{Started: lot.Started{TaskID: id}, submitted: park.FromMicro(1)})
		}
		return all
	}
	done := make(chan struct{})
	close(done)
	f := &prefetch{done: done, specs: map[string]*ledger.Spec{"a": own, "b": other}}
	if starts := begin("a"); p.fillFrom(starts, nil) || starts[0].spec != nil {
		t.Error("filled in from nothing")
	}
	for ids, want := range map[string]bool{"a": true, "a a": true, "a b": false, "b a": false, "c": false, "a c": false} {
		starts := begin(ids)
		if got := p.fillFrom(starts, f); got != want {
			t.Errorf("%s: all there %t", ids, got)
		}
		for _, s := range starts {
			if (s.spec != nil) != (s.TaskID == "a") {
				t.Errorf("%s: the submission of %s is %+v", ids, s.TaskID, s.spec)
			}
		}
	}
	starts := begin("c")
	starts[0].spec = own
	if !p.fillFrom(starts, f) || starts[0].spec != own {
		t.Error("what was at hand is lost")
	}
	p.specs.put(&ledger.Spec{TaskID: "at hand"})
	s := &lot.Step{Started: []lot.Started{{TaskID: "at hand"}, {TaskID: "new", Spec: own}, {TaskID: "a"}}}
	if got := p.missingSpecs(s); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%v are read", got)
	}
	p.prefetch = f
	if p.startPrefetch(&lot.Step{}); p.prefetch != nil {
		t.Error("what was read for another step is taken for this one")
	}
	p.prefetch, p.node = f, nil
	if p.startPrefetch(s); p.prefetch != nil {
		t.Error("a store of one node is read while it takes a step")
	}
}

// TestLeasesKeptElsewhere live on from when the store has answered, each sign of life once.
func TestLeasesKeptElsewhere(t *testing.T) {
	c := &envtest.Machine{Mono: time.Hour}
	l := &fakeShared{before: func() { c.Pass(time.Second) }}
	p := l.newLoop(c)
	p.lot = lot.New(lot.Config{Pool: "remote", Leased: true}, p.eng.env.Instant())
	for _, id := range []string{"a", "b", "c"} {
		r := ledger.Record{Spec: ledger.Spec{TaskID: id, Units: 1}, State: ledger.State{Status: park.Running, Attempt: 1, Lease: "lease-" + id, LeaseTTL: 10 * time.Second}}
		p.lot.Restore(&r, p.eng.env.Instant())
	}
	due := func() string {
		return strings.Join(slices.Sorted(maps.Keys(p.lot.ExpiredLeases(p.eng.env.Instant()))), " ")
	}
	look := func(err error) {
		t.Helper()
		l.asked = nil
		if got := p.extendRenewed(t.Context(), p.eng.env.Instant()); !errors.Is(got, err) {
			t.Errorf("a look: %v, not %v", got, err)
		}
	}
	look(nil)
	if l.asked != nil {
		t.Errorf("asks for %v, of which none is due", l.asked)
	}
	c.Pass(10 * time.Second)
	l.err = errAsked
	look(errAsked)
	l.err = nil
	l.kept = []store.LeaseRenewal{
		{TaskID: "a", Lease: "lease-a", Counter: 1, TTL: 20 * time.Second}, {TaskID: "b", Lease: "of before", Counter: 5, TTL: time.Hour},
	}
	look(nil)
	if got := due(); !slices.Equal(l.asked, []string{"a", "b", "c"}) || got != "b c" {
		t.Errorf("asked for %v, then %q are due", l.asked, got)
	}
	c.Pass(20*time.Second - 1)
	if got := due(); got != "b c" {
		t.Errorf("before its time %q are due", got)
	}
	c.Pass(1)
	look(nil) // the same sign of life
	if got := due(); got != "a b c" {
		t.Errorf("with one sign of life seen twice %q are due", got)
	}
	l.kept[0].Counter++
	look(nil)
	if got := due(); got != "b c" || p.renewals["lease-a"] != 2 {
		t.Errorf("with another sign of life %q are due", got)
	}
	for i := range 1000 + 2*3 - 1 {
		p.renewals[fmt.Sprint(i)] = 1
	}
	if look(nil); len(p.renewals) != 1006 {
		t.Errorf("%d leases are remembered", len(p.renewals))
	}
	p.renewals["more"] = 1
	if look(nil); len(p.renewals) != 0 {
		t.Errorf("%d leases are remembered for ever", len(p.renewals))
	}
}

// TestHearingOfSteps: a pool is called once, and only where there is news.
func TestHearingOfSteps(t *testing.T) {
	l := &fakeShared{}
	p := l.newLoop(&envtest.Machine{})
	p.rev.Store(5)
	for _, h := range []struct {
		rev   int64
		calls int
	}{{4, 0}, {5, 0}, {6, 1}, {7, 1}} {
		if (member{p.pool}).Follow(h.rev); len(p.messages) != h.calls {
			t.Errorf("after rev %d was heard of, %d calls", h.rev, len(p.messages))
		}
	}
	r, ok := (<-p.messages).(*refreshRequest)
	if !ok || r.reload || r.derive != nil || cap(r.reply) != 1 {
		t.Errorf("called by %+v", r)
	}
	p.lot = lot.New(lot.Config{Pool: "remote"}, p.eng.env.Instant())
	p.mustCatchUp, l.err = true, errAsked
	if err := p.catchUp(); !errors.Is(err, errAsked) || !p.mustCatchUp {
		t.Errorf("a store that fails: %v, behind %t", err, p.mustCatchUp)
	}
	l.err = nil
	if err := p.catchUp(); err != nil || p.mustCatchUp {
		t.Errorf("no news: %v, behind %t", err, p.mustCatchUp)
	}
}

// TestWhoIsTold: those who wait for what another node did, and after a reload everyone.
func TestWhoIsTold(t *testing.T) {
	p := (&fakeShared{}).newLoop(&envtest.Machine{})
	p.QueueBackend = park.File
	topics := map[string]topic.Topic{
		"log": topic.Audit(), "outbox": topic.Outbox(park.File), "start": topic.Started("remote", "a"), "end": topic.Ended("remote", "a"),
		"mail": topic.Mailbox("acme", "box"), "other": topic.Ended("remote", "b"),
	}
	for _, c := range []struct {
		status park.Status
		reload bool
		want   string
	}{
		{park.Queued, false, "log outbox"},
		{park.Running, false, "log outbox start"},
		{park.Completed, false, "end log mail outbox start"},
		{park.Queued, true, "end log mail other outbox start"},
	} {
		bells := map[string]<-chan struct{}{}
		for name, of := range topics {
			bells[name], _ = p.eng.hub.Join(of)
		}
		r := ledger.Record{Spec: ledger.Spec{TaskID: "a", Tenant: "acme", MailboxKey: "box"}, State: ledger.State{Status: c.status}}
		p.wakeWaiters(&store.Conflict{Changed: []ledger.Record{r}, Reload: c.reload})
		var rung []string
		for name, bell := range bells {
			if env.Ready(bell) {
				rung = append(rung, name)
			}
		}
		slices.Sort(rung)
		if got := strings.Join(rung, " "); got != c.want {
			t.Errorf("%s, reload %t: wakes %q, not %q", c.status, c.reload, got, c.want)
		}
		p.eng.hub.WakeAll()
	}
}

// TestBacklogIsMeasured by the last look of a relay at its outbox.
func TestBacklogIsMeasured(t *testing.T) {
	q := &fullOutbox{}
	e := &Engine{env: env.New(&envtest.Machine{Wall: time.Unix(100, 0)}), health: health.New(nil, nil)}
	m := envtest.NewSimulator(t)
	r := relay.ToMailbox(relay.Source{
		Env: env.New(m), Log: slog.New(slog.DiscardHandler), Hub: &e.hub, Health: e.health, From: park.File, Queue: q,
	}, park.InMemory, memory.New())
	e.relays = []*relay.Relay{r}
	for _, c := range []struct {
		found []store.OutboxEntry
		n     int
		age   time.Duration
	}{
		{nil, 0, 0},
		{[]store.OutboxEntry{{Since: park.At(time.Unix(40, 0))}, {Since: park.At(time.Unix(50, 0))}}, 2, time.Minute},
		{[]store.OutboxEntry{{Since: park.At(time.Unix(160, 0))}}, 1, 0}, // the clock was set
		{nil, 0, 0},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		q.entries, q.onRead = c.found, cancel
		r.Run(ctx)
		got := e.Stats().Backlogs
		if len(got) != 1 || got[0].Entries != c.n || got[0].Age != c.age || got[0].From != park.File || got[0].Dest != "mailbox/in_memory" {
			t.Errorf("owed: %+v, not %d for %s", got, c.n, c.age)
		}
	}
}

// fullOutbox is a queue with entries.
type fullOutbox struct {
	store.Queue
	entries []store.OutboxEntry
	onRead  func() // as they are read
}

func (s *fullOutbox) Outbox(context.Context, string, park.Time, int) ([]store.OutboxEntry, error) {
	s.onRead()
	return s.entries, nil
}

func (*fullOutbox) AckOutbox(context.Context, []int64, []store.DeferredEntry) error { return nil }
