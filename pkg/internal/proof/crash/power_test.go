//go:build linux

package crash_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/internal/proof/powercut"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestPowerCut cuts the power of the disk with the daemon's file. All acknowledged tasks exist afterwards. The canary
// in pkg/store/sqlite shows that such a disk loses data that was not flushed.
func TestPowerCut(t *testing.T) {
	c := proof.Begin(t, "power-cut")
	c.Target("cuts", 3, 15, 1000)
	seed := proof.SeedOr(rand.Uint64())
	c.Seed(strconv.FormatUint(seed, 10))
	rng := rand.New(rand.NewPCG(seed, 0))
	for c.More("cuts") && !c.Failed() {
		disk := newDisk(c, powercut.Small)
		if disk == nil {
			return
		}
		s := newHarness(c)
		n := fileNode(c, disk.Path())
		for round := 0; round < roundsPerDatabase && c.More("cuts"); round++ {
			s.cutPower(n, disk, round, rng)
			c.Add("cuts", 1)
		}
		n.start()
		s.checkAll(n)
		n.kill()
		if err := disk.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// newDisk returns a disk for the test; if that is not possible it returns nil and marks the campaign as absent.
func newDisk(c *proof.Campaign, size int64) *powercut.Disk {
	disk, err := powercut.New(c.Context(), size)
	if errors.Is(err, powercut.ErrAbsent) {
		c.Absent("%v", err)
		return nil
	}
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = disk.Close() })
	return disk
}

func (s *harness) cutPower(n *node, disk *powercut.Disk, round int, rng *rand.Rand) {
	n.start()
	stop := s.submitLoad(n, round, rng)
	time.Sleep(time.Duration(10+rng.IntN(200)) * time.Millisecond)
	if err := powercut.Freeze(s.Context(), n.pid()); err != nil {
		s.Fatal(err)
	}
	if err := disk.Cut(s.Context(), n.kill); err != nil {
		s.Fatal(err)
	}
	stop()
	wantGone(s.Campaign, s.marker)
	n.start()
	defer n.kill()
	s.wantAcknowledged(n, "r"+strconv.Itoa(round)+"-", "w"+strconv.Itoa(round)+"-")
}

// wantAcknowledged checks that no acknowledged task with one of the prefixes is missing.
func (s *harness) wantAcknowledged(n *node, prefixes ...string) {
	s.Helper()
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	for id, o := range s.ledger.acked {
		if !hasPrefix(id, prefixes) {
			continue
		}
		if _, err := n.apiClient().Task(s.Context(), o.pool, id, 0); park.CodeOf(err) == park.TaskNotFound {
			s.Broken("task %s was acknowledged and is gone", id)
		} else if err != nil {
			s.Fatal(err)
		}
	}
}
