package lease

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// A worker that lacks the resources to start a task releases the lease, waits, and then takes one task at a time.

const (
	minDelay = 100 * time.Millisecond
	maxDelay = 30 * time.Second
)

// shortageBackoff says when a worker may take tasks again. The zero value means at once.
type shortageBackoff struct {
	mu     sync.Mutex
	reason string
	delay  time.Duration // the latest; 0: no shortage
	until  time.Duration // by the worker's clock
}

// releaseLease releases the lease of a task that was not started. If that fails, the lease expires.
func (w *Worker) releaseLease(t *heldLease, s *park.ShortageError, log *slog.Logger) {
	w.shortage.begin(s, w.now(), w.cfg.Log)
	ctx, cancel := context.WithTimeoutCause(context.Background(), w.cfg.TTL, errLost)
	defer cancel()
	err := w.retry(ctx, "release a lease", func() error {
		return w.cfg.Service.ReleaseLease(ctx, t.LeaseID, park.LeaseRelease{Message: truncate(s.Error())})
	})
	if err != nil {
		log.Warn("lease not released", "error", err)
	}
}

// maxMessage bounds the text about a shortage that is sent to the daemon, in bytes.
const maxMessage = 4 << 10

func truncate(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxMessage)], "") }

// begin starts a delay. Tasks that were taken together count once.
func (p *shortageBackoff) begin(s *park.ShortageError, now time.Duration, log *slog.Logger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.delay == 0 || p.reason != s.Reason {
		log.Warn("tasks are not started: this machine lacks resources", "reason", s.Reason, "error", s)
	}
	if p.reason = s.Reason; now >= p.until {
		p.delay = min(max(2*p.delay, minDelay), maxDelay)
		p.until = now + p.delay
	}
}

// end is called when a task was started.
func (p *shortageBackoff) end(log *slog.Logger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.delay > 0 {
		log.Info("tasks are started again")
	}
	p.delay, p.until, p.reason = 0, 0, ""
}

// waitOutShortage waits for the end of a delay and returns how many of n tasks may be taken; ok is false if ctx ends first.
func (w *Worker) waitOutShortage(ctx context.Context, n int) (count int, ok bool) {
	w.shortage.mu.Lock()
	remaining, limited := w.shortage.until-w.now(), w.shortage.delay > 0
	w.shortage.mu.Unlock()
	if remaining > 0 && !sleep(ctx, remaining) {
		return 0, false
	}
	if limited {
		n = 1
	}
	return n, ctx.Err() == nil
}
