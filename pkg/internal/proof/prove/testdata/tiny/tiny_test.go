// Package tiny holds campaigns that the tests of prove run.
package tiny

import (
	"os"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

func TestRight(t *testing.T) {
	c := proof.Begin(t, "right")
	c.Add("steps", c.Target("steps", 2, 2, 2))
}

func TestSkips(t *testing.T) { t.Skip("no water") }

func TestDies(t *testing.T) {
	proof.Begin(t, "dies").Target("steps", 1, 1, 1)
	os.Exit(1)
}

func TestLess(t *testing.T) {
	c := proof.Begin(t, "less")
	c.Target("steps", 2, 2, 2)
	c.Add("steps", 1)
}

func TestWaits(t *testing.T) {
	c := proof.Begin(t, "waits")
	c.Target("steps", 1, 1, 1)
	if err := os.WriteFile(os.Getenv("TINY_MARK"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); !c.Spent() && time.Since(began) < proof.Patience; {
		time.Sleep(time.Millisecond)
	}
}
