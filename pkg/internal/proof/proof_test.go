package proof_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

func TestCampaignWritesItsLine(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv(proof.EnvLog, log)
	t.Setenv(proof.EnvForm, proof.CI)
	t.Run("one", func(t *testing.T) {
		c := proof.Begin(t, "storm")
		if n := c.Target("kills", 1, 3, 10); n != 3 {
			t.Errorf("asked for %d kills", n)
		}
		for c.More("kills") {
			c.Add("kills", 1)
		}
		c.Seed("7")
		c.Note("calm %d", 1)
	})
	t.Run("two", func(t *testing.T) { proof.Begin(t, "flood").Absent("no water") })
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := proof.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	three := map[string]int64{"kills": 3}
	want := []proof.Line{
		{Campaign: "storm", Form: "ci", Counts: three, Targets: three, Seeds: []string{"7"}, Notes: []string{"calm 1"}},
		{Campaign: "flood", Form: "ci", Skipped: "no water"},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(proof.Line{}, "Seconds", "At")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// strict is a test that is told why it fails.
type strict struct {
	testing.TB
	why string
}

func (s *strict) Fatal(args ...any) {
	s.why = fmt.Sprint(args...)
	runtime.Goexit()
}

// TestMistakenEnvironment: what cannot be meant is not taken for nothing.
func TestMistakenEnvironment(t *testing.T) {
	t.Setenv(proof.EnvLog, filepath.Join(t.TempDir(), "log"))
	for name, values := range map[string][]string{proof.EnvForm: {"night", "CI"}, proof.EnvSeconds: {"1m", "-1"}, proof.EnvSeed: {"x", "-7"}} {
		for _, v := range values {
			t.Run(name+"="+v, func(t *testing.T) {
				t.Setenv(name, v)
				s, done := &strict{TB: t}, make(chan struct{})
				go func() {
					defer close(done)
					proof.Begin(s, "storm")
				}()
				<-done
				if !strings.Contains(s.why, name+" must be") {
					t.Errorf("it is taken, or said was %q", s.why)
				}
			})
		}
	}
}

func TestReadPassesOverACutOffLine(t *testing.T) {
	got, err := proof.Read(strings.NewReader(`{"campaign":"a","kills":2,"broken":1}` + "\n" + `{"campaign":"b","ki`))
	if err != nil || len(got) != 1 || got[0].Counts["kills"] != 2 || got[0].Broken != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := proof.Read(strings.NewReader("nonsense\n")); err == nil {
		t.Error("nonsense was read")
	}
}
