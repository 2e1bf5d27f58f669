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

// TestGrace stops commands whose first process ends at once while another of the tree saves its work: by a cancel, at their
// timeout, with their daemon, and with the terminal of that. Who needs less than the grace gets to its end, of who needs more
// nothing is left, no unit is given to others before, and after a restart each task goes on from what it saved.
func TestGrace(t *testing.T) {
	c := proof.Begin(t, "grace")
	// Under nohup SIGHUP is ignored, and daemons would be started so. Who listens for it hands on that it is not.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	causes := []string{"cancels", "hang-ups", "timeouts", "stops"}
	for _, what := range causes {
		c.Target(what, 1, 1, 60)
	}
	seed := proof.SeedOr(rand.Uint64())
	c.Seed(strconv.FormatUint(seed, 10))
	g := newGracious(c, rand.New(rand.NewPCG(seed, 0)))
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
	g.settle(g.node)
	g.node.kill()
	if n := c.Count("witnesses killed"); n > 0 {
		c.Broken("%d processes that needed less than the grace were killed", n)
	}
}

const (
	stubborn      = "stubborn" // a pool of commands that do not end when they are told to
	graceUnits    = 4
	stubbornGrace = 200 * time.Millisecond
	// graceOfWork is much more than any of the trees needs, also on a machine that is busy with other things.
	graceOfWork = time.Minute
)

// gracious is a daemon of commands that save their work, and of others that do not end when they are told to.
type gracious struct {
	*site
	node  *node
	rng   *rand.Rand
	trees int
}

func newGracious(c *proof.Campaign, rng *rand.Rand) *gracious {
	s := newSiteOf(c, graceUnits)
	s.pools[stubborn] = 1
	n := fileNodeOf(c, c.TempDir(), graceUnits, graceOfWork, fmt.Sprintf(
		`,%q:{"max_units":1,"max_queue_depth":%d,"default_timeout_secs":0,"queue":"file","mailbox":"file","executor":{"type":"exec","kill_grace":"%s"}}`,
		stubborn, depth, stubbornGrace))
	return &gracious{site: s, node: n, rng: rng}
}

// tree is a task whose command is several processes.
type tree struct {
	offer
	savers int // those that save their work
}

// plant returns a task of one of the kinds of trees that there are. Each of its savers holds one unit.
func (g *gracious) plant() tree {
	g.trees++
	id := fmt.Sprintf("tree-%d", g.trees)
	saver := func(n int) string {
		need := time.Duration(g.rng.IntN(600)) * time.Millisecond
		return fmt.Sprintf("'%s' '%s' '%s' 1 %s 10m %s '%s/%s-%d'", program(g, "witness"), g.log, g.locks, id, need, g.tag, id, n)
	}
	one := saver(1)
	shapes := []struct {
		script string
		savers int
	}{
		{one + " & wait", 1},                          // its shell dies of SIGTERM at once
		{`trap "exit 0" TERM; ` + one + " & wait", 1}, // its shell ends well at once
		{"setsid " + one + " & wait", 1},              // a group of its own
		{"(" + one + " & wait) & wait", 1},            // a grandchild
		{one + " & setsid " + saver(2) + " & wait", 2},
		{"exec " + one, 1},
	}
	shape := shapes[g.trees%len(shapes)]
	o := g.work(id, shape.savers, 0)
	o.Command = []string{"sh", "-c", shape.script}
	return tree{o, shape.savers}
}

// mule returns a task that does not end when it is told to, and the file by which it says that it has begun.
func (g *gracious) mule() (o offer, began string) {
	g.trees++
	o = g.work(fmt.Sprintf("mule-%d", g.trees), 1, 0)
	began = g.tag + "/" + o.TaskID
	o.pool, o.Command = stubborn, []string{"sh", "-c", `trap "" TERM HUP INT; : >"$0"; setsid tail -f "$0" & tail -f "$0"; sleep 600`, began}
	return o, began
}

// round plants a few trees, and fells them.
func (g *gracious) round(what string) {
	g.node.setup = nil
	var window terminal
	switch {
	case what == "hang-ups":
		g.node.setup = window.start(g.node)
	case g.rng.IntN(2) == 0:
		g.node.setup = unread
	}
	g.node.start()
	mule, began := g.mule()
	trees := []tree{g.plant(), g.plant(), g.plant()}
	all := []*offer{&mule}
	for i := range trees {
		all = append(all, &trees[i].offer)
	}
	for _, o := range all {
		if what == "timeouts" {
			o.TimeoutSecs = 2
		}
		g.insist(g.node, *o)
	}
	g.await("a command that begins", func() bool {
		_, err := os.Stat(began)
		begun := err == nil || g.ended(mule)
		for _, tr := range trees {
			begun = begun && (g.told("start", tr.TaskID) == tr.savers || g.ended(tr.offer))
		}
		return begun
	})
	switch what {
	case "cancels":
		for _, o := range all {
			g.cancel(g.node.reach(), *o)
		}
		g.want(all, park.Dropped, park.ReasonCancelled)
	case "timeouts":
		g.want(all, park.Failed, park.ReasonTimeout)
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
		wantGone(g.Campaign, g.tag)
		g.node.setup = nil
		g.node.start()
		g.want(all[1:], park.Completed, "")
		g.cancel(g.node.reach(), mule)
		g.want(all[:1], park.Dropped, park.ReasonCancelled)
	}
	wantGone(g.Campaign, g.tag)
	for _, tr := range trees {
		if starts, saves, ends := g.told("start", tr.TaskID), g.told("saved", tr.TaskID), g.told("end", tr.TaskID); starts != saves+ends || saves > tr.savers {
			g.Broken("%s: of the %d processes of task %s (%q) %d saved their work and %d came to their end", what, starts, tr.TaskID, tr.Command, saves, ends)
		}
		g.Add("checkpoints", g.told("saved", tr.TaskID))
	}
	g.node.signal(syscall.SIGTERM)
	if code := g.node.wait(); code != 0 {
		g.Broken("a daemon with nothing to do ended with exit code %d", code)
	}
}

// terminate asks the daemon to stop: itself, or its whole group, as a shell or a supervisor may.
func (g *gracious) terminate() {
	if g.rng.IntN(2) == 0 {
		g.node.signal(syscall.SIGTERM)
		return
	}
	if err := syscall.Kill(-g.node.pid(), syscall.SIGTERM); err != nil {
		g.Fatal(err)
	}
}

// ended reports whether a task has.
func (g *gracious) ended(o offer) bool {
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	t, err := g.node.reach().Task(ctx, o.pool, o.TaskID, 0)
	if err != nil {
		g.Fatal(err)
	}
	return t.Status.Ended()
}

// want waits until tasks have ended, and sees how.
func (g *gracious) want(all []*offer, status park.Status, reason string) {
	g.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*proof.Patience)
	defer cancel()
	for _, o := range all {
		t, err := g.node.reach().Task(ctx, o.pool, o.TaskID, 2*proof.Patience)
		if err != nil || t.Status != status || t.Reason != reason {
			g.Broken("task %s (%q) is %s %s %s, want %s %s (%v)", o.TaskID, o.Command, t.Status, t.Reason, t.Message, status, reason, err)
		}
	}
}

// await waits until something is so.
func (s *site) await(what string, so func() bool) {
	s.Helper()
	for began := time.Now(); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > proof.Patience {
			s.Fatalf("%s: not within %s", what, proof.Patience)
		}
	}
}

// told returns how often the witnesses of a task told something.
func (s *site) told(what, task string) (n int) {
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
