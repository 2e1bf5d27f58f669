package planted

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/parkd-dev/parkd/pkg/proof"
)

// root is that of the repository.
const root = "../../.."

// bugs returns the bugs that are asked for: PARKD_PLANTED=no_fence names one alone.
func bugs(t *testing.T) []Bug {
	t.Helper()
	all, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	one := os.Getenv("PARKD_PLANTED")
	if one == "" {
		return all
	}
	all = slices.DeleteFunc(all, func(b Bug) bool { return b.Name != one })
	if len(all) == 0 {
		t.Fatalf("there is no bug %q to plant", one)
	}
	return all
}

// TestBugsApply: a bug whose lines have changed is planted no more.
func TestBugsApply(t *testing.T) {
	for _, b := range bugs(t) {
		if _, err := b.Patched(root); err != nil {
			t.Error(err)
		}
	}
}

// TestFormat: what is written wrongly is not taken for a bug that does nothing.
func TestFormat(t *testing.T) {
	const head, edit = "It does.\njudge: simulation\n", "\n== a.go\nold\n== becomes\nnew\n"
	good, err := parse("x", head+edit+"\n== b.go\nold\n== becomes\n")
	if want := []Edit{{"a.go", "old\n", "new\n"}, {"b.go", "old\n", ""}}; err != nil || !slices.Equal(good.Edits, want) {
		t.Errorf("got %+v, %v", good, err)
	}
	for _, text := range []string{
		"", head, edit, "It does" + edit, "It does.\n" + edit, "It does.\njudge: me\n" + edit, "It does.\njudge: go test . -run X\n" + edit,
		"It does.\njury: simulation\n" + edit, head + "\n== a.go\nold\n", head + "\n== becomes\nnew\n", head + edit + "== becomes\nnewer\n",
		head + "\n== a.go\nold\n== becomes\nold\n", head + "\n== a.go\n== becomes\nnew\n", head + "\n== ../a.go\nold\n== becomes\nnew\n",
	} {
		if b, err := parse("x", text); err == nil {
			t.Errorf("taken as %+v: %q", b, text)
		}
	}
}

// TestPlanted plants one bug after another and demands that its judge sees it. It is a campaign of package proof, and
// else tries none but the one that PARKD_PLANTED names, of which it then tells all that is known.
func TestPlanted(t *testing.T) {
	all := bugs(t)
	if proof.Form() == proof.Short && len(all) > 1 {
		all = nil
	}
	c := proof.Begin(t, "planted bugs")
	c.Target("found", len(all), len(all), len(all))
	scratch := t.TempDir()
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, b := range all {
		g.Go(func() error {
			if c.Spent() {
				return nil
			}
			told, err := b.try(t.Context(), scratch, len(all) == 1)
			if err != nil {
				t.Errorf("%s: %v", b.Name, err)
				return nil
			}
			c.Add("found", 1)
			if len(all) > 1 {
				told = told[:min(len(told), 200)]
			}
			t.Logf("%s: %s", b.Name, told)
			return nil
		})
	}
	_ = g.Wait()
}

// try returns what the judge of a bug says of it, or an error if it says nothing.
func (b Bug) try(ctx context.Context, scratch string, explain bool) (string, error) {
	overlay, err := b.Overlay(root, scratch)
	if err != nil {
		return "", err
	}
	judge := filepath.Join(scratch, b.Name, "judge")
	if b.Judge.Simulation {
		if err := build(ctx, "build", "-overlay", overlay, "-o", judge, "./pkg/sim/planted/judge"); err != nil {
			return "", err
		}
		return noticed(exec.CommandContext(ctx, judge, fmt.Sprintf("-explain=%t", explain)), seen)
	}
	if err := build(ctx, "test", "-c", "-vet=off", "-overlay", overlay, "-o", judge, b.Judge.Package); err != nil {
		return "", err
	}
	c := exec.CommandContext(ctx, judge, "-test.run", b.Judge.Run, "-test.timeout", "5m")
	c.Dir = filepath.Join(root, b.Judge.Package)
	return noticed(c, failed)
}

var (
	seen   = regexp.MustCompile(`(?m)^seed \d+: promise .*`)
	failed = regexp.MustCompile(`(?ms)^\s*--- FAIL: .*`)
)

func build(ctx context.Context, verb string, args ...string) error {
	c := exec.CommandContext(ctx, "go", append([]string{verb, "-ldflags=-s -w"}, args...)...)
	c.Dir, c.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("it does not build: %w\n%s", err, out)
	}
	return nil
}

// noticed runs a judge and returns what it says from where it tells of a fault. One that falls over has noticed nothing.
func noticed(c *exec.Cmd, fault *regexp.Regexp) (string, error) {
	// The judge is no campaign of its own, and takes no program that was built without the bug.
	c.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "PARKD_PROOF") })
	out, err := c.CombinedOutput()
	if err == nil {
		return "", fmt.Errorf("not found by its judge\n%s", out)
	}
	var exit *exec.ExitError
	at := fault.FindIndex(out)
	if !errors.As(err, &exit) || at == nil || strings.Contains(string(out), "panic: test timed out") {
		return "", fmt.Errorf("its judge fell over: %w\n%s", err, out[:min(len(out), 5000)])
	}
	return string(out[at[0]:]), nil
}
