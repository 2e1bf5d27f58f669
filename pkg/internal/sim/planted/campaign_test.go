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
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

// TestPlanted plants one bug after another; its judge must find each. It is a campaign of package proof, and otherwise
// tests only the bugs in PARKD_PLANTED. A single one is described in full.
func TestPlanted(t *testing.T) {
	all := bugs(t)
	if proof.Form() == proof.Short && os.Getenv("PARKD_PLANTED") == "" {
		all = nil
	}
	c := proof.Begin(t, "planted bugs")
	c.Target("found", len(all), len(all), len(all))
	court, err := newCourt(all, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, b := range all {
		g.Go(func() error {
			if c.Spent() {
				return nil
			}
			told, err := court.try(t.Context(), &b, len(all) == 1)
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

// court builds the judges: most of them once, with all bugs, of which each trial selects one.
type court struct {
	scratch  string
	together string          // the overlay
	alone    map[string]bool // bugs that are not in it

	mu     sync.Mutex
	judges map[Judge]func() (path string, err error)
}

func newCourt(all []Bug, scratch string) (*court, error) {
	c := &court{scratch: scratch, alone: make(map[string]bool), judges: make(map[Judge]func() (string, error))}
	var alone []Bug
	var err error
	c.together, alone, err = Together(all, root, scratch)
	for _, b := range alone {
		c.alone[b.Name] = true
	}
	return c, err
}

// try returns how the judge of a bug finds it, or an error if it does not.
func (c *court) try(ctx context.Context, b *Bug, explain bool) (string, error) {
	judge, err := c.judge(ctx, b)
	if err != nil {
		return "", err
	}
	cmd, fault := exec.CommandContext(ctx, judge, fmt.Sprintf("-explain=%t", explain)), seen
	flags := os.Getenv("GOFLAGS")
	if !b.Judge.Simulation {
		cmd, fault = exec.CommandContext(ctx, judge, "-test.run", b.Judge.Run, "-test.timeout", "5m"), failed
		cmd.Dir = filepath.Join(root, b.Judge.Package)
		// Some tests build the program themselves and run it in a clean environment.
		overlay, err := b.Overlay(root, c.scratch)
		if err != nil {
			return "", err
		}
		flags += " -overlay=" + overlay
	}
	// The judge must not count as a campaign, nor use programs that were built without the bug.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "PARKD_") && !strings.HasPrefix(s, "PARKD_REQUIRE") })
	cmd.Env = append(cmd.Env, EnvBug+"="+b.Name, "GOFLAGS="+flags)
	return noticed(cmd, fault)
}

func (c *court) judge(ctx context.Context, b *Bug) (string, error) {
	if c.alone[b.Name] {
		overlay, err := b.Overlay(root, c.scratch)
		if err != nil {
			return "", err
		}
		return c.build(ctx, b.Judge, overlay, filepath.Join(c.scratch, b.Name, "judge"))
	}
	of := Judge{Simulation: b.Judge.Simulation, Package: b.Judge.Package}
	c.mu.Lock()
	build := c.judges[of]
	if build == nil {
		path := filepath.Join(c.scratch, fmt.Sprintf("judge%d", len(c.judges)))
		build = sync.OnceValues(func() (string, error) { return c.build(ctx, of, c.together, path) })
		c.judges[of] = build
	}
	c.mu.Unlock()
	return build()
}

// build builds a judge with the bugs of an overlay.
func (c *court) build(ctx context.Context, j Judge, overlay, path string) (string, error) {
	args := []string{"test", "-c", "-vet=off", j.Package}
	if j.Simulation {
		args = []string{"build", "./pkg/internal/sim/planted/judge"}
	}
	last := len(args) - 1
	args = append(args[:last:last], "-ldflags=-s -w", "-overlay", overlay, "-o", path, args[last])
	if out, err := goTool(ctx, args...); err != nil {
		return "", fmt.Errorf("it does not build, perhaps for another bug that its judge is built with: %w\n%s", err, out)
	}
	return path, nil
}

// goTool runs the go command in the root of the repository.
func goTool(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	return cmd.CombinedOutput()
}

var (
	seen   = regexp.MustCompile(`(?m)^seed \d+: promise .*`)
	failed = regexp.MustCompile(`(?ms)^\s*--- FAIL: .*`)
)

// noticed runs a judge and returns its output from the first failure on; nothing if it crashed.
func noticed(c *exec.Cmd, fault *regexp.Regexp) (string, error) {
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
