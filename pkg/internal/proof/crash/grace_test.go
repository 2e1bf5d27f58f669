//go:build linux

package crash_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestGrace stops commands whose first process ends at once while another process of the tree saves its work: by a
// cancel, at their timeout, with their daemon, and with the daemon's terminal. Processes that need less than the grace
// period end by themselves; of those that need more, nothing is left. No unit is reused before, and after a restart
// each task continues from what it saved.
func TestGrace(t *testing.T) {
	c := proof.Begin(t, "grace")
	// Under nohup SIGHUP is ignored, and children would inherit that; listening for it prevents that.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	causes := []string{"cancels", "hang-ups", "timeouts", "stops"}
	for _, what := range causes {
		c.Target(what, 1, 1, 60)
	}
	seed := proof.SeedOr(rand.Uint64())
	c.Seed(strconv.FormatUint(seed, 10))
	g := newGraceTest(c, rand.New(rand.NewPCG(seed, 0)))
	for round := 0; !c.Failed(); round++ {
		what := causes[round%len(causes)]
		if !c.More(what) {
			break
		}
		g.round(what)
		c.Add(what, 1)
	}
	if c.Failed() {
		return
	}
	g.node.start()
	g.checkAll(g.node)
	g.node.kill()
	if n := c.Count("witnesses killed"); n > 0 {
		c.Broken("%d processes that needed less than the grace were killed", n)
	}
}

const (
	stubborn      = "stubborn" // the pool of commands that do not end on SIGTERM
	graceUnits    = 4
	stubbornGrace = 200 * time.Millisecond
	// workGrace is much more than any tree needs, also on a busy machine.
	workGrace = time.Minute
)

// graceTest is a daemon with commands that save their work, and others that do not end on SIGTERM.
type graceTest struct {
	*harness
	node  *node
	rng   *rand.Rand
	trees int
}

func newGraceTest(c *proof.Campaign, rng *rand.Rand) *graceTest {
	s := newHarnessWith(c, graceUnits)
	s.pools[stubborn] = 1
	n := fileNodeOf(c, c.TempDir(), graceUnits, workGrace, fmt.Sprintf(
		`,%q:{"max_units":1,"max_queue_depth":%d,"default_timeout_secs":0,"queue":"file","mailbox":"file","executor":{"type":"exec","kill_grace":"%s"}}`,
		stubborn, depth, stubbornGrace))
	return &graceTest{harness: s, node: n, rng: rng}
}

// tree is a task whose command consists of several processes.
type tree struct {
	submission
	savers int // those that save their work
}

// newTree returns a task with one of several kinds of trees. Each process that saves its work uses one unit.
func (g *graceTest) newTree() tree {
	g.trees++
	id := fmt.Sprintf("tree-%d", g.trees)
	saver := func(n int) string {
		need := time.Duration(g.rng.IntN(600)) * time.Millisecond
		return fmt.Sprintf("'%s' '%s' '%s' 1 %s 10m %s '%s/%s-%d'", program(g, "lockholder"), g.log, g.locks, id, need, g.marker, id, n)
	}
	one := saver(1)
	shapes := []struct {
		script string
		savers int
	}{
		{one + " & wait", 1},                          // its shell dies of SIGTERM at once
		{`trap "exit 0" TERM; ` + one + " & wait", 1}, // its shell ends well at once
		{"setsid " + one + " & wait", 1},              // its own group
		{"(" + one + " & wait) & wait", 1},            // a grandchild
		{one + " & setsid " + saver(2) + " & wait", 2},
		{"exec " + one, 1},
	}
	shape := shapes[g.trees%len(shapes)]
	o := g.lockTask(id, shape.savers, 0)
	o.Command = []string{"sh", "-c", shape.script}
	return tree{o, shape.savers}
}

// newStubborn returns a task that does not end on SIGTERM, and a file that it creates when it has started.
func (g *graceTest) newStubborn() (o submission, began string) {
	g.trees++
	o = g.lockTask(fmt.Sprintf("mule-%d", g.trees), 1, 0)
	began = g.marker + "/" + o.TaskID
	o.pool, o.Command = stubborn, []string{"sh", "-c", `trap "" TERM HUP INT; : >"$0"; setsid tail -f "$0" & tail -f "$0"; sleep 600`, began}
	return o, began
}

// round starts some trees and stops them.
func (g *graceTest) round(what string) {
	g.node.setup = nil
	var window terminal
	switch {
	case what == "hang-ups":
		g.node.setup = window.start(g.node)
	case g.rng.IntN(2) == 0:
		g.node.setup = closeOutput
	}
	g.node.start()
	mule, began := g.newStubborn()
	trees := []tree{g.newTree(), g.newTree(), g.newTree()}
	all := []*submission{&mule}
	for i := range trees {
		all = append(all, &trees[i].submission)
	}
	for _, o := range all {
		if what == "timeouts" {
			o.TimeoutSecs = 2
		}
		g.submitUntilAccepted(g.node, *o)
	}
	g.waitFor("a command that begins", func() bool {
		_, err := os.Stat(began)
		begun := err == nil || g.hasEnded(mule)
		for _, tr := range trees {
			begun = begun && (g.countLogged("start", tr.TaskID) == tr.savers || g.hasEnded(tr.submission))
		}
		return begun
	})
	switch what {
	case "cancels":
		for _, o := range all {
			g.cancel(g.node.apiClient(), *o)
		}
		g.wantAll(all, park.Dropped, park.ReasonCancelled)
	case "timeouts":
		g.wantAll(all, park.Failed, park.ReasonTimeout)
	default:
		if what == "hang-ups" {
			window.hangUp()
		} else {
			g.terminate()
		}
		if code := g.node.wait(); code != 0 {
			g.Broken("a daemon that was to stop ended with exit code %d", code)
			return
		}
		wantGone(g.Campaign, g.marker)
		g.node.setup = nil
		g.node.start()
		g.wantAll(all[1:], park.Completed, "")
		g.cancel(g.node.apiClient(), mule)
		g.wantAll(all[:1], park.Dropped, park.ReasonCancelled)
	}
	wantGone(g.Campaign, g.marker)
	for _, tr := range trees {
		if starts, saves, ends := g.countLogged("start", tr.TaskID), g.countLogged("saved", tr.TaskID), g.countLogged("end", tr.TaskID); starts != saves+ends || saves > tr.savers {
			g.Broken("%s: of the %d processes of task %s (%q) %d saved their work and %d came to their end", what, starts, tr.TaskID, tr.Command, saves, ends)
		}
		g.Add("checkpoints", g.countLogged("saved", tr.TaskID))
	}
	g.node.signal(syscall.SIGTERM)
	if code := g.node.wait(); code != 0 {
		g.Broken("a daemon with nothing to do ended with exit code %d", code)
	}
}

// terminate sends SIGTERM to the daemon, or to its whole group, as a shell or a supervisor may.
func (g *graceTest) terminate() {
	if g.rng.IntN(2) == 0 {
		g.node.signal(syscall.SIGTERM)
		return
	}
	if err := syscall.Kill(-g.node.pid(), syscall.SIGTERM); err != nil {
		g.Fatal(err)
	}
}

// hasEnded reports whether a task has ended.
func (g *graceTest) hasEnded(o submission) bool {
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	t, err := g.node.apiClient().Task(ctx, o.pool, o.TaskID, 0)
	if err != nil {
		g.Fatal(err)
	}
	return t.Status.Ended()
}

// wantAll waits until tasks have ended, and checks how.
func (g *graceTest) wantAll(all []*submission, status park.Status, reason string) {
	g.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*proof.Patience)
	defer cancel()
	for _, o := range all {
		t, err := g.node.apiClient().Task(ctx, o.pool, o.TaskID, 2*proof.Patience)
		if err != nil || t.Status != status || t.Reason != reason {
			g.Broken("task %s (%q) is %s %s %s, want %s %s (%v)", o.TaskID, o.Command, t.Status, t.Reason, t.Message, status, reason, err)
		}
	}
}

// waitFor waits for a condition.
func (s *harness) waitFor(what string, so func() bool) {
	s.Helper()
	for began := time.Now(); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > proof.Patience {
			s.Fatalf("%s: not within %s", what, proof.Patience)
		}
	}
}

// countLogged returns how often the processes of a task have logged an event.
func (s *harness) countLogged(what, task string) (n int) {
	f, err := os.Open(s.log)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), what+" "+task+" ") {
			n++
		}
	}
	return n
}
