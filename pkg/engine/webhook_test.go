package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// hangingNotifier is a notifier that hangs for some mailboxes.
type hangingNotifier struct {
	mu        sync.Mutex
	hanging   map[string]bool // by mailbox
	delivered map[string]time.Time
	calls     map[string]int
}

func (s *hangingNotifier) Notify(ctx context.Context, _ string, m park.Message) error {
	s.mu.Lock()
	s.calls[m.Key]++
	hangs := s.hanging[m.Key]
	s.mu.Unlock()
	if hangs {
		time.Sleep(10 * time.Second)
		return errors.New("no answer within 10 s")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivered[m.TaskID] = time.Now()
	return ctx.Err()
}

func (s *hangingNotifier) release(box string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hanging, box)
}

func (s *hangingNotifier) callsOf(box string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[box]
}

// hasDelivered reports whether the message of a task was delivered.
func (s *hangingNotifier) hasDelivered(task string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.delivered[task]
	return ok
}

// logLines counts log entries, by level.
type logLines struct {
	slog.Handler
	mu  sync.Mutex
	all []string
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }

func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, r.Level.String()+" "+r.Message)
	return nil
}

func (l *logLines) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *logLines) count(prefix string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

func withMailbox(id, key string) park.Submission {
	s := withID(id, sleepFor(1))
	s.MailboxKey.Key = key
	return s
}

// TestHangingReceiverDelaysNobody: the others hear of their messages at once, however many wait for the one that hangs.
// The log says once that it fails, and once that it does no longer.
func TestHangingReceiverDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &hangingNotifier{hanging: map[string]bool{"stuck": true}, delivered: map[string]time.Time{}, calls: map[string]int{}}
		p := poolConfig("cpu", 1000, sleepExecutor())
		p.Notifier = n
		log := &logLines{}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{p}, Log: slog.New(log)})
		defer b.closeNow()
		for i := range 600 { // more than are looked at together
			b.submit("cpu", withMailbox(fmt.Sprintf("stuck-%d", i), "stuck"))
		}
		time.Sleep(time.Minute)
		for i := range 100 {
			id := fmt.Sprintf("other-%d", i)
			began := time.Now()
			b.submit("cpu", withMailbox(id, fmt.Sprintf("box-%d", i%20)))
			time.Sleep(3 * time.Second)
			n.mu.Lock()
			at, ok := n.delivered[id]
			n.mu.Unlock()
			if !ok || at.Sub(began) > 2*time.Second {
				t.Fatalf("%s: notified %t, after %s", id, ok, at.Sub(began))
			}
		}
		if calls := n.callsOf("stuck"); calls > 40 { // in half an hour, at 5 minutes from each other in the end
			t.Errorf("the one that hangs was called %d times", calls)
		}
		if w := log.count("WARN notif"); w != 1 {
			t.Errorf("%d warnings", w)
		}
		n.release("stuck")
		time.Sleep(time.Hour)
		for i := range 600 {
			if !n.hasDelivered(fmt.Sprintf("stuck-%d", i)) {
				t.Fatalf("stuck-%d was not notified once the receiver answered", i)
			}
		}
		if w, i := log.count("WARN notif"), log.count("INFO notif"); w != 1 || i != 1 {
			t.Errorf("%d warnings and %d that it is over", w, i)
		}
	})
}

// TestHangingReceiverOfLargeMessagesDelaysNobody: of large messages few are looked at together, fewer than there are calls
// on their way to the one receiver that hangs.
func TestHangingReceiverOfLargeMessagesDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &hangingNotifier{hanging: map[string]bool{"stuck": true}, delivered: map[string]time.Time{}, calls: map[string]int{}}
		p := poolConfig("cpu", 1000, resultExecutor())
		p.Notifier = n
		b := openEngine(t, engine.Config{Pools: []engine.Pool{p}})
		defer b.closeNow()
		for i := range 40 {
			s := withResultSize(fmt.Sprint("stuck-", i), 1<<20)
			s.MailboxKey.Key = "stuck"
			b.submit("cpu", s)
		}
		time.Sleep(3 * time.Second)
		s := withResultSize("other", 100)
		s.MailboxKey.Key = "well"
		b.submit("cpu", s)
		began := b.awaitTask("cpu", "other").CompletedAt
		time.Sleep(time.Minute)
		n.mu.Lock()
		at, ok := n.delivered["other"]
		n.mu.Unlock()
		if !ok || at.Sub(began.Time) > 4*time.Second {
			t.Errorf("notified %t, after %s", ok, at.Sub(began.Time))
		}
		n.release("stuck")
		time.Sleep(time.Hour)
		for i := range 40 {
			if !n.hasDelivered(fmt.Sprint("stuck-", i)) {
				t.Errorf("stuck-%d was not notified once the receiver answered", i)
			}
		}
	})
}

// TestManyHangingReceivers leave room for those that answer.
func TestManyHangingReceivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &hangingNotifier{hanging: map[string]bool{}, delivered: map[string]time.Time{}, calls: map[string]int{}}
		p := poolConfig("cpu", 1000, sleepExecutor())
		p.Notifier = n
		log := &logLines{}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{p}, Log: slog.New(log)})
		defer b.closeNow()
		for i := range 300 {
			key := fmt.Sprintf("stuck-%d", i)
			n.hanging[key] = true
			b.submit("cpu", withMailbox(key, key))
		}
		time.Sleep(10 * time.Minute)
		for i := range 100 {
			id := fmt.Sprintf("other-%d", i)
			began := time.Now()
			b.submit("cpu", withMailbox(id, "well"))
			time.Sleep(3 * time.Second)
			n.mu.Lock()
			at, ok := n.delivered[id]
			n.mu.Unlock()
			if !ok || at.Sub(began) > 2*time.Second {
				t.Fatalf("%s: notified %t, after %s", id, ok, at.Sub(began))
			}
		}
		if w := log.count("WARN"); w > 10 {
			t.Errorf("%d warnings", w)
		}
	})
}
