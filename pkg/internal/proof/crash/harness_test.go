//go:build linux

package crash_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// harness is shared by all daemons of a test: the pools, the ledger and the lock holders.
type harness struct {
	*proof.Campaign
	ledger *ledger
	pools  map[string]int64 // units
	log    string           // of the lock holders
	locks  string
	marker string // in the command line of every lock holder
}

// workPool runs lock holders; simPool runs simulated tasks.
const (
	workPool = "work"
	simPool  = "sim"
)

const (
	workUnits = 3
	simUnits  = 8
)

func newHarness(c *proof.Campaign) *harness { return newHarnessWith(c, workUnits) }

// newHarnessWith is newHarness with the given units for lock holders.
func newHarnessWith(c *proof.Campaign, units int) *harness {
	dir := c.TempDir()
	s := &harness{
		Campaign: c, ledger: newLedger(c), pools: map[string]int64{workPool: int64(units), simPool: simUnits},
		log: dir + "/log", locks: dir + "/units", marker: dir,
	}
	if err := os.Mkdir(s.locks, 0o755); err != nil {
		c.Fatal(err)
	}
	for i := range units {
		if err := os.WriteFile(fmt.Sprintf("%s/%d", s.locks, i), nil, 0o600); err != nil {
			c.Fatal(err)
		}
	}
	return s
}

// lockTask returns a task that is a lock holder for the given time, simTask a simulated one.
func (s *harness) lockTask(id string, units int, d time.Duration) submission {
	return submission{workPool, park.Submission{
		TaskID: id, MailboxKey: park.MailboxRef{Key: "box-work"}, ResourceCost: park.Cost{Units: park.Units(units)},
		Command: []string{program(s, "lockholder"), s.log, s.locks, fmt.Sprint(units), id, d.String()},
	}}
}

func (s *harness) simTask(id string, units int, box string) submission {
	return submission{simPool, park.Submission{
		TaskID: id, MailboxKey: park.MailboxRef{Key: box}, ResourceCost: park.Cost{Units: park.Units(units)},
		Payload: []byte(`{"durationMs":5}`),
	}}
}

// checkAll waits until everything has ended, compares the daemon's data with the ledger and the lock holders, and
// returns the tasks.
func (s *harness) checkAll(n *node) map[string]park.Task {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c := n.apiClient()
	s.waitUntilIdle(ctx, c)
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	tasks := make(map[string]park.Task)
	for pool := range s.pools {
		s.list(ctx, c, pool, tasks)
	}
	mail := s.checkTasks(tasks)
	s.checkMail(ctx, c, tasks, mail)
	for pool, units := range s.pools {
		s.checkLog(ctx, c, pool, units, tasks)
	}
	s.checkLockHolders(tasks)
	s.verify(n)
	s.Add("acknowledged", len(s.ledger.acked))
	s.Add("refused", len(s.ledger.refused))
	return tasks
}

// waitUntilIdle waits until nothing is parked or runs. The number of tasks must decrease within [proof.Patience].
func (s *harness) waitUntilIdle(ctx context.Context, c *client.Client) {
	s.Helper()
	least, moved := int64(-1), time.Now()
	for {
		call, cancel := context.WithTimeout(ctx, proof.Patience)
		pools, err := c.Pools(call)
		cancel()
		var left int64
		for _, p := range pools {
			left += int64(p.QueueDepth + p.Running)
		}
		switch {
		case err == nil && left == 0:
			return
		case err == nil && (least < 0 || left < least):
			least, moved = left, time.Now()
		case time.Since(moved) > proof.Patience:
			s.logUnended(c)
			s.Fatalf("not all tasks end: %+v %v", pools, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// logUnended logs the tasks that have not ended.
func (s *harness) logUnended(c *client.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	for pool := range s.pools {
		for _, status := range []park.Status{park.Running, park.Queued} {
			page, err := c.Tasks(ctx, pool, park.TaskQuery{Status: status, Limit: 20})
			for _, t := range page.Tasks {
				s.Logf("%+v", t)
			}
			if err != nil {
				s.Log(err)
			}
		}
	}
}

func (s *harness) list(ctx context.Context, c *client.Client, pool string, into map[string]park.Task) {
	s.Helper()
	q := park.TaskQuery{Limit: 1000}
	for {
		page, err := c.Tasks(ctx, pool, q)
		if err != nil {
			s.Fatal(err)
		}
		for _, t := range page.Tasks {
			into[t.TaskID] = t
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return
		}
	}
}

// checkTasks compares the tasks with the ledger and returns the expected number of messages per mailbox.
func (s *harness) checkTasks(tasks map[string]park.Task) map[string]int {
	for id, o := range s.ledger.acked {
		if t, ok := tasks[id]; !ok || t.PoolID != o.pool {
			s.Broken("task %s was acknowledged and is not there", id)
		} else if !t.Status.Ended() {
			s.Broken("task %s was acknowledged and has not ended: %s", id, t.Status)
		}
	}
	for id := range s.ledger.refused {
		if t, ok := tasks[id]; ok {
			s.Broken("task %s was answered 503 and is there: %s", id, t.Status)
		}
	}
	mail := make(map[string]int)
	for _, t := range tasks {
		mail[t.MailboxKey]++
	}
	return mail
}

// checkMail checks that each task has exactly one message, with its outcome.
func (s *harness) checkMail(ctx context.Context, c *client.Client, tasks map[string]park.Task, boxes map[string]int) {
	s.Helper()
	for key, want := range boxes {
		seen := make(map[string]bool)
		q := park.MailboxQuery{Tenant: park.DefaultTenant, Key: key, Limit: 1000}
		for {
			page, err := c.Mailbox(ctx, q)
			if err != nil {
				s.Fatal(err)
			}
			for _, m := range page.Messages {
				t := tasks[m.TaskID]
				if seen[m.TaskID] || t.Status != m.Status || t.Attempt != m.Attempt || t.MailboxKey != key {
					s.Broken("message of task %s in %s: %s in attempt %d, the task is %s in attempt %d; seen before: %t",
						m.TaskID, key, m.Status, m.Attempt, t.Status, t.Attempt, seen[m.TaskID])
				}
				seen[m.TaskID] = true
			}
			if len(page.Messages) == 0 {
				break
			}
			q.After = page.Next
		}
		if len(seen) != want {
			s.Broken("mailbox %s holds messages of %d tasks, want %d", key, len(seen), want)
		}
	}
}

// checkLog replays a pool's log, which must have the same ends.
func (s *harness) checkLog(ctx context.Context, c *client.Client, pool string, units int64, tasks map[string]park.Task) {
	s.Helper()
	r := replay.New(replay.Limits{MaxUnits: units, MaxQueueDepth: depth})
	r.KeepEnds()
	q := park.AuditQuery{PoolID: pool, Changes: true, Limit: 1000}
	for {
		page, err := c.Audit(ctx, q)
		if err != nil {
			s.Fatal(err)
		}
		for _, e := range page.Events {
			if err := r.Apply(e); err != nil {
				s.Broken("the log breaks a rule: %v", err)
				return
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	ends := r.Ends()
	for id, t := range tasks {
		if t.PoolID == pool && (ends[id].Attempt != t.Attempt || !ends[id].At.Equal(t.CompletedAt.Time)) {
			s.Broken("task %s ended in attempt %d at %s, its log says %+v", id, t.Attempt, t.CompletedAt, ends[id])
		}
	}
	s.Add("events", r.Summary().Events)
}

// depth is the maximum number of parked tasks.
const depth = 1_000_000

// holdSpan is the time during which a lock holder ran.
type holdSpan struct {
	from, to int64
	units    int64
}

// checkLockHolders reads the log of the lock holders: none started without capacity, and those of completed tasks ran
// to their end.
func (s *harness) checkLockHolders(tasks map[string]park.Task) {
	spells, ends, killed := s.readLockHolders()
	for id, t := range tasks {
		if t.PoolID == workPool && t.Status == park.Completed && ends[id] == 0 {
			s.Broken("task %s is said to be completed, but its lock holder did not end by itself", id)
		}
	}
	most := maxInUse(spells)
	if most > s.pools[workPool] {
		s.Broken("lock holders used %d units at once, of %d", most, s.pools[workPool])
	}
	s.Add("witnesses", len(spells)+killed)
	s.Add("witnesses killed", killed)
}

func (s *harness) readLockHolders() (spells []holdSpan, ends map[string]int, killed int) {
	f, err := os.Open(s.log)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, 0
	}
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	ends = make(map[string]int)
	open := make(map[string]int64) // by process and task
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var what, task string
		var units, pid, at int64
		if _, err := fmt.Sscan(lines.Text(), &what, &task, &units, &pid, &at); err != nil {
			s.Fatalf("log of the lock holders: %q: %v", lines.Text(), err)
		}
		who := fmt.Sprint(pid, task)
		switch what {
		case "over":
			s.Broken("task %s was started and there was no room for its %d units", task, units)
		case "start":
			open[who] = at
		case "end", "saved":
			if what == "end" {
				ends[task]++
			}
			spells = append(spells, holdSpan{open[who], at, units})
			delete(open, who)
		}
	}
	return spells, ends, len(open)
}

// maxInUse returns the largest number of units in use at once.
func maxInUse(spells []holdSpan) (most int64) {
	type edge struct{ at, units int64 }
	var edges []edge
	for _, s := range spells {
		edges = append(edges, edge{s.from, s.units}, edge{s.to, -s.units})
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.units, b.units)) })
	var now int64
	for _, e := range edges {
		now += e.units
		most = max(most, now)
	}
	return most
}

// verify runs parkd audit verify.
func (s *harness) verify(n *node) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program(s, "parkd"), "audit", "verify", "--server", "unix://"+n.dir+"/s")
	c.Env = append(n.env(), "PARKD_CONFIG="+n.config)
	if out, err := c.CombinedOutput(); err != nil {
		s.Broken("parkd audit verify: %v\n%s", err, out)
	}
}

func TestSweep(t *testing.T) {
	if most := maxInUse([]holdSpan{{1, 5, 2}, {5, 9, 2}, {2, 4, 1}, {3, 8, 1}}); most != 4 {
		t.Errorf("got %d, want 4", most)
	}
}

// quote returns a text as JSON.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func hasPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
