//go:build linux

package sqlite_test

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/internal/proof/powercut"
)

// TestPowerCut cuts the power while steps are committed. No acknowledged step may be lost.
func TestPowerCut(t *testing.T) {
	c := proof.Begin(t, "power-cut-steps")
	c.Target("cuts", 3, 20, 500)
	if lost := cutPowerRepeatedly(c, false); lost > 0 {
		c.Broken("%d acknowledged steps were lost", lost)
	}
}

// TestPowerCutCanary does the same with synchronous=NORMAL, which must lose steps. If it loses none, the power cuts are
// not effective and TestPowerCut proves nothing.
func TestPowerCutCanary(t *testing.T) {
	c := proof.Begin(t, "power-cut-canary")
	c.Target("cuts", 3, 10, 100)
	lost := cutPowerRepeatedly(c, true)
	c.Add("lost steps", lost)
	if c.Count("cuts") > 0 && lost == 0 {
		c.Broken("no acknowledged step was lost without flushes: the power cuts are none")
	}
}

// cutPowerRepeatedly has victims commit until the power is cut. It returns how many acknowledged steps were lost.
func cutPowerRepeatedly(c *proof.Campaign, relaxed bool) (lost int) {
	for c.More("cuts") && !c.Failed() {
		disk, err := powercut.New(c.Context(), powercut.Small)
		if errors.Is(err, powercut.ErrAbsent) {
			c.Absent("%v", err)
			return 0
		}
		if err != nil {
			c.Fatal(err)
		}
		path, acked := filepath.Join(disk.Path(), "parkd.db"), make(map[string]int64)
		for i := 0; i < 20 && c.More("cuts"); i++ {
			lost += cutPower(c, disk, path, relaxed, acked)
			c.Add("cuts", 1)
		}
		if err := disk.Close(); err != nil {
			c.Fatal(err)
		}
	}
	return lost
}

func cutPower(c *proof.Campaign, disk *powercut.Disk, path string, relaxed bool, acked map[string]int64) (lost int) {
	v, lines := startVictim(c, path, relaxed)
	for after := 20 + rand.IntN(150); lines.Scan(); after-- {
		recordAck(c, lines.Text(), acked)
		if after > 0 {
			continue
		}
		if err := powercut.Freeze(c.Context(), v.Process.Pid); err != nil {
			c.Fatal(err)
		}
		err := disk.Cut(c.Context(), func() {
			_ = v.Process.Kill()
			for lines.Scan() {
				recordAck(c, lines.Text(), acked)
			}
			_ = v.Wait()
		})
		if err != nil {
			c.Fatal(err)
		}
		break
	}
	s := openAt(c, path)
	defer s.Close()
	for _, pool := range victimPools() {
		rev := verifyPool(c, s, pool)
		lost += int(max(0, acked[pool]-rev))
		acked[pool] = rev
	}
	return lost
}

// recordAck records a step that a victim acknowledged.
func recordAck(c *proof.Campaign, line string, acked map[string]int64) {
	pool, rev, ok := strings.Cut(line, " ")
	if !ok {
		return
	}
	n, err := strconv.ParseInt(rev, 10, 64)
	if err != nil {
		c.Fatalf("the victim says %q: %v", line, err)
	}
	acked[pool] = n
	c.Add("acknowledged", 1)
}
