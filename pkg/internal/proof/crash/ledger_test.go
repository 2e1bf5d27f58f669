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

// ledger is what daemons have said, on disk before anyone acts on it.
type ledger struct {
	mu      sync.Mutex
	file    *os.File
	acked   map[string]offer
	refused map[string]offer // answered 503, which means that nothing was accepted, and not offered again
	unsure  map[string]bool  // offered at least once without a whole answer
}

// offer is a submission and the pool that it went to.
type offer struct {
	pool string
	park.Submission
}

func newLedger(t testing.TB) *ledger {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "ledger"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &ledger{file: f, acked: make(map[string]offer), refused: make(map[string]offer), unsure: make(map[string]bool)}
}

// submit offers a task and notes the answer. It waits no longer than [proof.Patience] for that.
func (l *ledger) submit(ctx context.Context, c *client.Client, o offer) error {
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
	case told && refusal.Code == park.StorageUnavailable && !l.unsure[o.TaskID]:
		l.refused[o.TaskID] = o
		return errors.Join(err, l.write("503", o.TaskID))
	case !told, refusal.Code == park.OutcomeUnknown:
		l.unsure[o.TaskID] = true
	}
	return err
}

func (l *ledger) write(what, id string) error {
	if _, err := fmt.Fprintln(l.file, what, id); err != nil {
		return err
	}
	return l.file.Sync()
}

// acknowledged returns how many tasks were.
func (l *ledger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}
