package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// fakeLog is an audit log that goes to some rev, and a queue that owes entries until it was asked often enough.
type fakeLog struct {
	store.Queue
	store.Audit
	rev    int64
	fails  error
	asked  []string
	owes   int
	lifted ledger.Pool
}

func (l *fakeLog) LastRev(context.Context, string) (int64, park.Time, error) {
	l.asked = append(l.asked, "rev")
	return l.rev, park.FromMicro(9), l.fails
}

func (l *fakeLog) Outbox(_ context.Context, dest string, _ park.Time, _ int) ([]store.OutboxEntry, error) {
	l.asked = append(l.asked, dest)
	if l.owes--; l.owes < 0 {
		return nil, l.fails
	}
	return make([]store.OutboxEntry, 1), l.fails
}

func (l *fakeLog) AdvanceRev(_ context.Context, _ string, row ledger.Pool) error {
	l.lifted = row
	return nil
}

// TestOvertakenByItsLog: a queue that knows less than its log is told from one that knows as much, and the log is not asked
// in vain.
func TestOvertakenByItsLog(t *testing.T) {
	for name, c := range map[string]struct {
		numbered, local bool
		rev, logged     int64 // of the queue, and of the log in its own store
		elsewhere       int64 // of a log that was asked already
		unread          error
		fails           error
		asked           bool
		behind          bool
		then            bool // it is numbered then
		err             bool
	}{
		"known":                   {numbered: true, local: true, logged: 7, then: true},
		"as far":                  {rev: 7, elsewhere: 7, then: true},
		"further":                 {rev: 8, elsewhere: 7, then: true},
		"less far":                {rev: 6, elsewhere: 7, behind: true},
		"lost":                    {rev: 0, elsewhere: 7, behind: true},
		"new":                     {rev: 0, elsewhere: 0, then: true},
		"unread":                  {rev: 6, unread: errAsked},
		"lost, unread":            {rev: 0, unread: errAsked, err: true},
		"lost, in its own store":  {local: true, logged: 7, asked: true, behind: true},
		"lost, unread of its own": {local: true, fails: errAsked, asked: true, err: true},
		"not lost, of its own":    {local: true, rev: 1, logged: 7, then: true},
		"lost, with a log apart":  {rev: 0, logged: 7, elsewhere: 3, behind: true},
	} {
		l := &fakeLog{rev: c.logged, fails: c.fails}
		p := newLoop(&pool{localAudit: c.local, eng: &Engine{audit: l, log: slog.New(slog.DiscardHandler)}})
		p.pastLogEnd = c.numbered
		end, behind, err := p.logIsAhead(t.Context(), ledger.Pool{Rev: c.rev}, logEnd{rev: c.elsewhere}, c.unread)
		if behind != c.behind || p.pastLogEnd != c.then || (len(l.asked) > 0) != c.asked || (err != nil) != c.err {
			t.Errorf("%s: behind %t, numbered %t, asked %t, %v", name, behind, p.pastLogEnd, len(l.asked) > 0, err)
		}
		if c.fails != nil && (!errors.Is(err, errLogUnreadable) || !errors.Is(err, c.fails)) {
			t.Errorf("%s: %v", name, err)
		}
		if want := max(c.elsewhere, c.logged); c.behind && name != "lost, with a log apart" && end.rev != want {
			t.Errorf("%s: the log goes to %d", name, end.rev)
		}
	}
	for name, c := range map[string]struct {
		row  ledger.Pool
		want ledger.Pool
	}{
		"lost": {want: ledger.Pool{MaxUnits: 4, MaxQueueDepth: 5, ConfiguredUnits: 4, ConfiguredDepth: 5, State: park.Active, LastStep: skippedTasksLost}},
		"old":  {row: ledger.Pool{Rev: 2, MaxUnits: 3, LastStep: "x"}, want: ledger.Pool{MaxUnits: 3, LastStep: skippedTasksOlder}},
	} {
		l := &fakeLog{}
		p := newLoop(&pool{queue: l, eng: &Engine{log: slog.New(slog.DiscardHandler)}})
		p.MaxUnits, p.MaxQueueDepth = 4, 5
		if err := p.skipToLogEnd(t.Context(), c.row, logEnd{7, park.FromMicro(9)}); err != nil {
			t.Error(err)
		}
		if c.want.Rev, c.want.LastAt = 7, park.FromMicro(9); l.lifted != c.want {
			t.Errorf("%s: lifted to %+v, not %+v", name, l.lifted, c.want)
		}
	}
}

// TestLastOutboxEntries: what queues in memory owe to other stores is waited for, for a time, and nothing else.
func TestLastOutboxEntries(t *testing.T) {
	for name, c := range map[string]struct {
		queue, mail, log park.Backend
		owes             int
		fails            error
		closed           bool
		asked            []string
		took             time.Duration
	}{
		"durable":         {queue: park.File, mail: park.Postgres, log: park.Postgres, owes: 1},
		"all in memory":   {queue: park.InMemory, mail: park.InMemory, log: park.InMemory, owes: 1},
		"mail apart":      {queue: park.InMemory, mail: park.File, log: park.InMemory, asked: []string{"mailbox/file"}},
		"the log apart":   {queue: park.InMemory, mail: park.InMemory, log: park.File, asked: []string{"audit/file"}},
		"both":            {queue: park.InMemory, mail: park.File, log: park.Postgres, owes: 2, asked: []string{"mailbox/file", "mailbox/file", "mailbox/file", "audit/postgres"}, took: 20 * time.Millisecond},
		"what cannot":     {queue: park.InMemory, mail: park.File, log: park.InMemory, owes: 1, fails: errAsked, asked: []string{"mailbox/file"}},
		"for ever":        {queue: park.InMemory, mail: park.File, log: park.InMemory, owes: 1 << 20, took: 3 * time.Second},
		"an engine's end": {queue: park.InMemory, mail: park.File, log: park.InMemory, owes: 1 << 20, closed: true, asked: []string{"mailbox/file"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &fakeLog{owes: c.owes, fails: c.fails}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.closed {
				cancel()
			}
			e := &Engine{ctx: ctx, cfg: Config{Audit: c.log}, poolIDs: []string{"cpu"}, env: env.New(nil)}
			p := &pool{queue: l, localMail: c.mail == c.queue, localAudit: c.log == c.queue}
			p.QueueBackend, p.MailboxBackend = c.queue, c.mail
			e.pools = map[string]*pool{"cpu": p}
			began := time.Now()
			e.flushOutboxes()
			if took := time.Since(began); took != c.took || c.took < time.Second && !slices.Equal(l.asked, c.asked) {
				t.Errorf("%s: took %s, asked for %v", name, took, l.asked)
			}
			if c.took == 3*time.Second && len(l.asked) != 301 {
				t.Errorf("%s: looked %d times", name, len(l.asked))
			}
		})
	}
}

// TestResumesOnce: the first step of a pool that was lifted tells that, and no other.
func TestResumesOnce(t *testing.T) {
	for _, c := range []struct {
		adopted bool
		last    string
		events  int
	}{{false, skippedTasksLost, 1}, {false, skippedTasksOlder, 1}, {false, "submit", 0}, {true, skippedTasksLost, 0}} {
		p := stoppedLoop()
		now := p.eng.env.Instant()
		p.lot = lot.New(lot.Config{Pool: "cpu"}, now)
		p.lot.Merge(ledger.Pool{Rev: 7, MaxUnits: 1, MaxQueueDepth: 1, State: park.Active, LastStep: c.last}, nil, now)
		p.initialized = c.adopted
		p.announceSkip()
		if step, _ := p.lot.Apply(now, nil, nil); len(step.Events) != c.events {
			t.Errorf("after the step %q, adopted %t, %d events tell of it", c.last, c.adopted, len(step.Events))
		}
	}
}
