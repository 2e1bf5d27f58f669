//go:build linux

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/park"
)

// ledger records the answers of daemons, on disk before anything else happens.
type ledger struct {
	mu         sync.Mutex
	file       *os.File
	acked      map[string]submission
	refused    map[string]submission // answered 503, so nothing was accepted, and not submitted again
	unanswered map[string]bool       // submitted at least once without a complete answer
}

// submission is a submission and its pool.
type submission struct {
	pool string
	park.Submission
}

func newLedger(t testing.TB) *ledger {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "ledger"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &ledger{file: f, acked: make(map[string]submission), refused: make(map[string]submission), unanswered: make(map[string]bool)}
}

// submit submits a task and records the answer. It waits up to [proof.Patience].
func (l *ledger) submit(ctx context.Context, c *client.Client, o submission) error {
	ctx, cancel := context.WithTimeout(ctx, proof.Patience)
	defer cancel()
	results, err := c.Submit(ctx, o.pool, []park.Submission{o.Submission})
	if err == nil && results[0].Err != nil {
		err = results[0].Err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.refused, o.TaskID)
	refusal, told := errors.AsType[*park.Error](err)
	switch {
	case err == nil:
		l.acked[o.TaskID] = o
		return l.write("202", o.TaskID)
	case told && refusal.Code == park.StorageUnavailable && !l.unanswered[o.TaskID]:
		l.refused[o.TaskID] = o
		return errors.Join(err, l.write("503", o.TaskID))
	case !told, refusal.Code == park.OutcomeUnknown:
		l.unanswered[o.TaskID] = true
	}
	return err
}

func (l *ledger) write(what, id string) error {
	if _, err := fmt.Fprintln(l.file, what, id); err != nil {
		return err
	}
	return l.file.Sync()
}

// count returns the number of acknowledged tasks.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}
