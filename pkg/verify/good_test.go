package verify_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
	"github.com/parkd-dev/parkd/pkg/verify"
)

// TestGood: in unchanged evidence nothing is found, also after clients have acknowledged all messages.
func TestGood(t *testing.T) {
	x := open(t, good(t)(t))
	for range 2 {
		wantClean(t, x)
		for _, box := range []string{"acked", "box", "other"} {
			x.ack("acme", box, 1000)
		}
	}
}

// wantClean fails the test if verification finds anything.
func wantClean(t testing.TB, src verify.Source) {
	t.Helper()
	for _, pool := range []string{"gpu", "cpu"} {
		if o := found(t, src, pool); o != nil {
			t.Errorf("%v", o)
		}
	}
}

// TestGoodSince begins the verification at every step, and after the last one.
func TestGoodSince(t *testing.T) {
	x := open(t, good(t)(t))
	page, err := x.Audit(context.Background(), park.AuditQuery{PoolID: "gpu", Changes: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Events {
		for _, since := range []park.Time{e.At, park.FromMicro(e.At.Micro() + 1)} {
			r, err := verify.Pool(context.Background(), x, "gpu", verify.Options{Since: since, Now: time.Now})
			if err != nil {
				t.Errorf("since %s: %v", since, err)
			}
			if whole := r.FirstRev == 1; r.Partial == whole {
				t.Errorf("since %s: %d events from rev %d on, which is told to be a part: %t", since, r.Events, r.FirstRev, r.Partial)
			}
		}
	}
}

// TestGoodPruned prunes more and more, in the order of retention and in small parts.
func TestGoodPruned(t *testing.T) {
	a := archived(t, good(t)(t))
	log, err := a.Events(context.Background(), park.AuditQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(log); i += 7 {
		before := log[i].At
		for _, prune := range []func(context.Context, park.Time, int) (int, error){a.PruneEvents, a.PruneMessages, a.PruneTasks} {
			for n := 3; n == 3; {
				if n, err = prune(context.Background(), before, 3); err != nil {
					t.Fatal(err)
				}
				wantClean(t, a)
			}
		}
	}
}

// pruning is an archive that is pruned while it is read: after the log, or between the messages and the tasks.
type pruning struct {
	archive
	t      *testing.T
	before park.Time
	late   bool
}

func (p pruning) prune() {
	for _, prune := range []func(context.Context, park.Time, int) (int, error){p.PruneEvents, p.PruneMessages, p.PruneTasks} {
		if _, err := prune(context.Background(), p.before, 1000); err != nil {
			p.t.Error(err)
		}
	}
}

func (p pruning) KeptMessages(ctx context.Context, pool string, q park.KeptQuery) (park.KeptPage[park.KeptMessage], error) {
	if !p.late {
		p.prune()
	}
	return p.archive.KeptMessages(ctx, pool, q)
}

func (p pruning) KeptTasks(ctx context.Context, pool string, q park.KeptQuery) (park.KeptPage[park.KeptTask], error) {
	if p.late {
		p.prune()
	}
	return p.archive.KeptTasks(ctx, pool, q)
}

// TestGoodPrunedMeanwhile prunes the archive during the verification.
func TestGoodPrunedMeanwhile(t *testing.T) {
	copied := good(t)
	for _, late := range []bool{false, true} {
		a := archived(t, copied(t))
		log, err := a.Events(context.Background(), park.AuditQuery{PoolID: "gpu", Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(log); i += 9 {
			wantClean(t, pruning{archive: a, t: t, before: log[i].At, late: late})
		}
	}
}

// apart is a site with its queue in memory and its log and mailboxes in a file, or the other way round.
func apart(t *testing.T, queue, rest park.Backend, stores map[park.Backend]store.Store) *site {
	c := config(nil, queue, nil)
	c.Stores, c.Audit = stores, rest
	for i := range c.Pools {
		c.Pools[i].MailboxBackend = rest
	}
	return openOn(t, c, func() {})
}

func fileStore(t *testing.T, path string) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestGoodApart restarts a daemon that loses its queue, or its log and mailboxes. Ids are used again.
func TestGoodApart(t *testing.T) {
	for _, queue := range []park.Backend{park.InMemory, park.File} {
		t.Run(string(queue), func(t *testing.T) {
			file := fileStore(t, filepath.Join(t.TempDir(), "parkd.db"))
			rest := map[park.Backend]park.Backend{park.InMemory: park.File, park.File: park.InMemory}[queue]
			for life := range 3 {
				x := apart(t, queue, rest, map[park.Backend]store.Store{park.InMemory: memory.New(), park.File: file})
				a := fmt.Sprint("a", life)
				if queue == park.InMemory {
					a = "a"
				}
				x.submit(task(a, 1, `1`), task(a+"2", 2, bad, attempts(2, 0)))
				x.end(a, a+"2")
				x.submit(task(fmt.Sprint("left", life), 1, held))
				wantClean(t, x)
				x.stop()
			}
		})
	}
}

// TestGoodRestored continues with a queue restored from a backup and a log that was not restored.
func TestGoodRestored(t *testing.T) {
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "parkd.db"), filepath.Join(dir, "backup.db")
	log := memory.New()
	run := func(path string) (*site, func()) {
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		x := apart(t, park.File, park.InMemory, map[park.Backend]store.Store{park.File: s, park.InMemory: log})
		return x, func() {
			x.stop()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	x, stop := run(path)
	x.submit(task("a", 1, `1`), task("long", 4, held))
	x.end("a")
	stop()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(backup, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	x, stop = run(path)
	x.release("long")
	x.submit(task("b", 1, `1`))
	x.end("b")
	wantClean(t, x)
	stop()
	x, stop = run(backup)
	wantClean(t, x)
	x.submit(task("c", 1, `1`), task("b", 1, `2`))
	x.release("long")
	x.end("b", "c")
	wantClean(t, x)
	stop()
}

// TestGoodUnderLoad verifies while tasks are submitted, cancelled, retried and acknowledged, and the pool is resized.
func TestGoodUnderLoad(t *testing.T) {
	s := memory.New()
	c := config(s, park.InMemory, nil)
	x := openOn(t, c, func() {})
	done := make(chan struct{})
	var work sync.WaitGroup
	for client := range 4 {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				box := fmt.Sprint("box", client)
				id := func(k int) string { return fmt.Sprintf("t%d-%d-%d", client, i, k) }
				_, err := x.Submit(context.Background(), "gpu", []park.Submission{
					task(id(0), 1+i%4, `1`, of("acme", box), with(park.Priority(i%4-1))), task(id(1), 1, bad, of("globex", box), attempts(2, time.Millisecond)),
					task(id(2), 2, `2`, of("acme", box), by(time.Now().Add(time.Duration(i%3)*time.Millisecond+time.Millisecond))), task(id(3), 1, `3`, of("acme", "")),
				})
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = x.Cancel(context.Background(), "gpu", id(i%4))
				if i%5 == 0 {
					x.ack("acme", box, 3)
				}
				if units := int64(2 + i%4); client == 0 && i%3 == 0 {
					x.set(park.PoolPatch{MaxUnits: &units})
				}
			}
		})
	}
	for range 12 {
		wantClean(t, x)
	}
	close(done)
	work.Wait()
	wantClean(t, x)
}

// TestGoodShared has tenants use the same task ids.
func TestGoodShared(t *testing.T) {
	x := openOn(t, config(memory.New(), park.InMemory, nil), func() {})
	for _, tenant := range []string{"acme", "globex", "initech"} {
		s := task("same", 1, `1`, of(tenant, "box"))
		s.OwnIDs = true
		x.submit(s)
	}
	x.end("same", park.TenantTaskID("same", "globex"), park.TenantTaskID("same", "initech"))
	wantClean(t, x)
}

// changing is a source whose pool changes after its log was read, and whose log has the change only later.
type changing struct {
	*site
	asked int
}

func (c *changing) Audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error) {
	page, err := c.Engine.Audit(ctx, q)
	if c.asked++; c.asked == 1 {
		lower := int64(1)
		c.set(park.PoolPatch{MaxUnits: &lower})
	}
	return page, err
}

// TestWhileLimitsChange: a change between two reads is not an offence.
func TestWhileLimitsChange(t *testing.T) {
	x := openOn(t, config(memory.New(), park.InMemory, nil), func() {})
	x.submit(task("a", 4, `1`))
	x.end("a")
	if o := found(t, &changing{site: x}, "gpu"); o != nil {
		t.Error(o)
	}
}

// forgetful is a source that is pruned completely once its log was read; then an id is used again.
type forgetful struct {
	*site
	store *memory.Store
	asked int
}

func (f *forgetful) KeptEvents(ctx context.Context, pool string, q park.KeptQuery) (park.KeptPage[park.Event], error) {
	page, err := f.Engine.KeptEvents(ctx, pool, q)
	if f.asked++; f.asked == 1 {
		soon := park.At(time.Now().Add(time.Second))
		for _, prune := range []func(context.Context, park.Time, int) (int, error){f.store.PruneEvents, f.store.PruneMessages, f.store.PruneTasks} {
			if _, err := prune(ctx, soon, 1000); err != nil {
				f.Error(err)
			}
		}
		f.submit(task("a", 1, `1`))
		f.end("a")
	}
	return page, err
}

// TestGoodForgottenMeanwhile: an id may be used again after its task was pruned, also if that task was read before.
func TestGoodForgottenMeanwhile(t *testing.T) {
	s := memory.New()
	x := openOn(t, config(s, park.InMemory, nil), func() {})
	x.submit(task("a", 1, `1`))
	x.end("a")
	if o := found(t, &forgetful{site: x, store: s}, "gpu"); o != nil {
		t.Error(o)
	}
}

// TestGoodEmpty verifies a pool without events, as a client.
func TestGoodEmpty(t *testing.T) {
	x := openOn(t, config(memory.New(), park.InMemory, nil), func() {})
	c := overHTTP(t, x)
	if r, err := verify.Pool(context.Background(), c, "gpu", verify.Options{Now: time.Now}); r.Partial {
		t.Errorf("a pool without a history is told to be a part of it: %v", err)
	}
	wantClean(t, c)
	x.submit(task("a", 1, `1`))
	x.end("a")
	wantClean(t, c)
}

// TestNoSuchPool: the daemon's error is returned.
func TestNoSuchPool(t *testing.T) {
	x := openOn(t, config(memory.New(), park.InMemory, nil), func() {})
	_, err := verify.Pool(context.Background(), x, "none", verify.Options{Now: time.Now})
	if _, offence := errors.AsType[*replay.Offence](err); offence || park.CodeOf(err) != park.PoolNotFound {
		t.Errorf("got %v", err)
	}
}
