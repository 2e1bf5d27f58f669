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

// site is what all daemons of a test share: the pools, the ledger and the witnesses.
type site struct {
	*proof.Campaign
	ledger *ledger
	pools  map[string]int64 // units
	log    string           // of the witnesses
	locks  string
	tag    string // in the command line of every witness
}

// witnessed is the pool whose tasks are witnesses, played the one whose tasks are simulated.
const (
	witnessed = "work"
	played    = "sim"
)

const (
	workUnits = 3
	simUnits  = 8
)

func newSite(c *proof.Campaign) *site { return newSiteOf(c, workUnits) }

// newSiteOf returns a site whose witnesses have so many units.
func newSiteOf(c *proof.Campaign, units int) *site {
	dir := c.TempDir()
	s := &site{
		Campaign: c, ledger: newLedger(c), pools: map[string]int64{witnessed: int64(units), played: simUnits},
		log: dir + "/log", locks: dir + "/units", tag: dir,
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

// work returns a task that is a witness for the given time, sim one that is only played.
func (s *site) work(id string, units int, d time.Duration) offer {
	return offer{witnessed, park.Submission{
		TaskID: id, MailboxKey: park.MailboxRef{Key: "box-work"}, ResourceCost: park.Cost{Units: park.Units(units)},
		Command: []string{program(s, "witness"), s.log, s.locks, fmt.Sprint(units), id, d.String()},
	}}
}

func (s *site) sim(id string, units int, box string) offer {
	return offer{played, park.Submission{
		TaskID: id, MailboxKey: park.MailboxRef{Key: box}, ResourceCost: park.Cost{Units: park.Units(units)},
		Payload: []byte(`{"durationMs":5}`),
	}}
}

// settle lets everything end, checks what the daemon remembers against the ledger and the witnesses, and returns that.
func (s *site) settle(n *node) map[string]park.Task {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c := n.reach()
	s.idle(ctx, c)
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
	s.checkWitness(tasks)
	s.verify(n)
	s.Add("acknowledged", len(s.ledger.acked))
	s.Add("refused", len(s.ledger.refused))
	return tasks
}

// idle waits until nothing is parked or runs. However much there is to do, it has to become less within
// [proof.Patience].
func (s *site) idle(ctx context.Context, c *client.Client) {
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
			s.unended(c)
			s.Fatalf("not all tasks end: %+v %v", pools, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// unended logs the tasks that do not end.
func (s *site) unended(c *client.Client) {
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

func (s *site) list(ctx context.Context, c *client.Client, pool string, into map[string]park.Task) {
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

// checkTasks holds the tasks against the ledger and returns how many messages each mailbox has to hold.
func (s *site) checkTasks(tasks map[string]park.Task) map[string]int {
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

// checkMail sees that each task has left one message that says how it ended.
func (s *site) checkMail(ctx context.Context, c *client.Client, tasks map[string]park.Task, boxes map[string]int) {
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

// checkLog replays a pool's log, which has to tell of the same ends.
func (s *site) checkLog(ctx context.Context, c *client.Client, pool string, units int64, tasks map[string]park.Task) {
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

// depth is how many tasks may be parked.
const depth = 1_000_000

// spell is a time in which a witness lived.
type spell struct {
	from, to int64
	units    int64
}

// checkWitness reads what the witnesses say: none of them started without room, and those whose task is said to be
// completed lived to their end.
func (s *site) checkWitness(tasks map[string]park.Task) {
	spells, ends, killed := s.witnesses()
	for id, t := range tasks {
		if t.PoolID == witnessed && t.Status == park.Completed && ends[id] == 0 {
			s.Broken("task %s is said to be completed, but its witness did not come to its end", id)
		}
	}
	most := sweep(spells)
	if most > s.pools[witnessed] {
		s.Broken("witnesses of %d units lived at once, of %d", most, s.pools[witnessed])
	}
	s.Add("witnesses", len(spells)+killed)
	s.Add("witnesses killed", killed)
}

func (s *site) witnesses() (spells []spell, ends map[string]int, killed int) {
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
			s.Fatalf("witness says %q: %v", lines.Text(), err)
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
			spells = append(spells, spell{open[who], at, units})
			delete(open, who)
		}
	}
	return spells, ends, len(open)
}

// sweep returns the most units that were in use at once.
func sweep(spells []spell) (most int64) {
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

// verify has the program itself look at its log.
func (s *site) verify(n *node) {
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
	if most := sweep([]spell{{1, 5, 2}, {5, 9, 2}, {2, 4, 1}, {3, 8, 1}}); most != 4 {
		t.Errorf("got %d, want 4", most)
	}
}

// quote puts a text into JSON.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func hasPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
