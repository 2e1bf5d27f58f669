package lease

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// What a worker does that lacks the means to begin a task: it gives the lease back, takes no other for a while, and then one
// at a time.

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 30 * time.Second
)

// pauses is when a worker takes tasks again. The zero value is at once.
type pauses struct {
	mu     sync.Mutex
	reason string
	rest   time.Duration // the last pause; 0 where all is well
	until  time.Duration // by the worker's clock
}

// giveBack returns a lease whose task has not begun to the daemon. One that cannot be given back runs out.
func (w *Worker) giveBack(t *tenure, s *park.ShortageError, log *slog.Logger) {
	w.pauses.begin(s, w.now(), w.cfg.Log)
	ctx, cancel := context.WithTimeoutCause(context.Background(), w.cfg.TTL, errLost)
	defer cancel()
	err := w.insist(ctx, "give a lease back", func() error {
		return w.cfg.Service.ReleaseLease(ctx, t.LeaseID, park.LeaseRelease{Message: cut(s.Error())})
	})
	if err != nil {
		log.Warn("lease not given back", "error", err)
	}
}

// mostMessage bounds what the daemon is told of a shortage.
const mostMessage = 4 << 10

func cut(text string) string { return strings.ToValidUTF8(text[:min(len(text), mostMessage)], "") }

// begin begins a pause. Tasks that were taken together count once.
func (p *pauses) begin(s *park.ShortageError, now time.Duration, log *slog.Logger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rest == 0 || p.reason != s.Reason {
		log.Warn("no task is begun: this machine lacks what they need", "reason", s.Reason, "error", s)
	}
	if p.reason = s.Reason; now >= p.until {
		p.rest = min(max(2*p.rest, firstPause), lastPause)
		p.until = now + p.rest
	}
}

// end says that a task was begun.
func (p *pauses) end(log *slog.Logger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rest > 0 {
		log.Info("tasks are begun again")
	}
	p.rest, p.until, p.reason = 0, 0, ""
}

// pause waits for the end of a pause and returns how many of n tasks may be taken then; ok is false where ctx ends first.
func (w *Worker) pause(ctx context.Context, n int) (take int, ok bool) {
	w.pauses.mu.Lock()
	left, short := w.pauses.until-w.now(), w.pauses.rest > 0
	w.pauses.mu.Unlock()
	if left > 0 && !rest(ctx, left) {
		return 0, false
	}
	if short {
		n = 1
	}
	return n, ctx.Err() == nil
}
