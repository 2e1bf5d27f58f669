package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// judge is a test and the changes that it reaches.
type judge struct {
	binary     string
	dir        string // where it runs
	noFailFile string // flag against failure files; "" if unknown to the test
	test       string
	env        []string
	duration   time.Duration
	reaches    []byte // by change, 1 if reached
}

// testSet is all tests, the fastest first.
type testSet struct {
	scratch string
	changes int
	judges  []*judge
}

// build builds the test binaries and runs each test once.
func build(ctx context.Context, o options, p *source, scratch string, changes int) (*testSet, error) {
	b := &testSet{scratch: scratch, changes: changes}
	for i, pkg := range o.judges {
		binary := filepath.Join(scratch, fmt.Sprintf("judge%d.test", i))
		c := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", filepath.Join(scratch, overlayName), "-o", binary, pkg)
		c.Env, c.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := c.Run(); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w", pkg, err)
		}
		all, err := testsOf(ctx, binary, strings.TrimPrefix(pkg, "./"), pkg == "./pkg/internal/sim", o.skip)
		if err != nil {
			return nil, err
		}
		b.judges = append(b.judges, all...)
	}
	if err := b.findReached(ctx, o.jobs); err != nil {
		return nil, err
	}
	b.judges = slices.DeleteFunc(b.judges, func(j *judge) bool { return j.reaches == nil })
	slices.SortStableFunc(b.judges, func(a, b *judge) int { return int(a.duration - b.duration) })
	fmt.Printf("%d changes to %s, %d tests that pass\n", changes, p.path, len(b.judges))
	return b, nil
}

// testsOf lists a binary's tests. The simulation is used with few histories, then with many.
func testsOf(ctx context.Context, binary, dir string, sim bool, skip *regexp.Regexp) (all []*judge, err error) {
	quiet := "-rapid.nofailfile"
	out, err := exec.CommandContext(ctx, binary, quiet, "-test.list", ".").Output()
	if err != nil { // it has no tests with rapid, and does not know the flag
		quiet = ""
		out, err = exec.CommandContext(ctx, binary, "-test.list", ".").Output()
	}
	if err != nil {
		return nil, fmt.Errorf("list the tests of %s: %w", dir, err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		switch {
		case strings.HasPrefix(name, "Benchmark"), skip.MatchString(name):
		case sim && name == "TestSimulate":
			for _, n := range []string{"4", "40", "400"} {
				all = append(all, &judge{binary: binary, dir: dir, noFailFile: quiet, test: name, env: []string{"PARKD_SIM_SEEDS=" + n}})
			}
		default:
			all = append(all, &judge{binary: binary, dir: dir, noFailFile: quiet, test: name})
		}
	}
	return all, nil
}

// maxTestTime is the longest run time of a test that is used.
const maxTestTime = time.Minute

// findReached runs each test once without an active change. Tests that fail, or take too long, are not used.
func (b *testSet) findReached(ctx context.Context, jobs int) error {
	return each(b.judges, jobs, func(i int, j *judge) error {
		seen := filepath.Join(b.scratch, fmt.Sprintf("seen%d", i))
		if err := os.WriteFile(seen, make([]byte, b.changes), 0o600); err != nil {
			return err
		}
		began := time.Now()
		out, err := j.run(ctx, maxTestTime, envSeen+"="+seen)
		if j.duration = time.Since(began); err != nil {
			fmt.Printf("%s does not pass, and is not asked: %v\n%.300s\n", j.test, err, out)
			return ctx.Err()
		}
		if j.reaches, err = os.ReadFile(seen); err != nil {
			return err
		}
		return os.Remove(seen)
	})
}

// run runs a test.
func (j *judge) run(ctx context.Context, limit time.Duration, env ...string) ([]byte, error) {
	return runTests(ctx, []*judge{j}, limit, env...)
}

// runTests runs tests of one binary and one environment in one process. If it does not end it is killed, and counts as
// failed.
func runTests(ctx context.Context, all []*judge, limit time.Duration, env ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	names := make([]string, len(all))
	for i, j := range all {
		names[i] = j.test
	}
	args := []string{"-test.failfast", "-test.run", "^(" + strings.Join(names, "|") + ")$"}
	if all[0].noFailFile != "" {
		args = append(args, all[0].noFailFile)
	}
	c := exec.CommandContext(ctx, all[0].binary, args...)
	c.Dir = all[0].dir
	c.Env = append(append(os.Environ(), "GOMAXPROCS=1", "GOMEMLIMIT=2GiB"), append(env, all[0].env...)...)
	c.WaitDelay = time.Second
	return c.CombinedOutput()
}

// try tries each change until a test notices it.
func (b *testSet) try(ctx context.Context, chosen []*change, jobs int) error {
	var done atomic.Int64
	return each(chosen, jobs, func(_ int, c *change) error {
		c.outcome = b.judge(ctx, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		word := "noticed by " + c.outcome.by
		switch {
		case !c.outcome.reached:
			word = "NOT REACHED"
		case c.outcome.by == "":
			word = "NOT NOTICED"
		}
		fmt.Printf("%d/%d %s: %s\n", done.Add(1), len(chosen), word, c.name)
		return nil
	})
}

// groupLimit bounds the total time of tests that run in one process.
const groupLimit = time.Second

// judge runs the tests that reach a change, fast ones together, the others one by one.
func (b *testSet) judge(ctx context.Context, c *change) (f outcome) {
	var asked []*judge
	for _, j := range b.judges {
		if j.reaches[c.number] != 0 {
			asked = append(asked, j)
		}
	}
	f.reached = len(asked) > 0
	for len(asked) > 0 && ctx.Err() == nil {
		n, takes := 1, asked[0].duration
		for n < len(asked) && asked[n].binary == asked[0].binary && len(asked[n].env) == 0 && len(asked[0].env) == 0 && takes+asked[n].duration < groupLimit {
			takes += asked[n].duration
			n++
		}
		if _, err := runTests(ctx, asked[:n], 10*time.Second+8*takes, fmt.Sprintf("%s=%d", envActive, c.number)); err != nil && ctx.Err() == nil {
			f.by = asked[0].test
			if n > 1 {
				f.by = fmt.Sprintf("one of %s and %d more", f.by, n-1)
			}
			return f
		}
		asked = asked[n:]
	}
	return f
}

// each calls do for all elements, several at once, until one fails.
func each[T any](all []T, jobs int, do func(int, T) error) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	failed := make([]error, jobs)
	var over atomic.Bool
	for w := range jobs {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(all) && !over.Load(); i = int(next.Add(1)) - 1 {
				if failed[w] = do(i, all[i]); failed[w] != nil {
					over.Store(true)
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(failed...)
}

// printReport prints the results of the changes.
func printReport(chosen []*change, off map[string]string, o options) error {
	var out bytes.Buffer
	noticed, written, bad := 0, 0, 0
	for _, c := range chosen {
		reason, excused := off[c.name]
		switch {
		case c.outcome.by != "" && excused:
			bad++
			fmt.Fprintf(&out, "written off, but noticed by %s: %s\n", c.outcome.by, c.name)
		case c.outcome.by != "":
			noticed++
		case excused:
			written++
			fmt.Fprintf(&out, "written off (%s): %s\n", reason, c.name)
		default:
			bad++
			fmt.Fprintf(&out, "not noticed: %s\n", c.name)
		}
		delete(off, c.name)
	}
	if o.every == 1 && o.only.String() == "" {
		for name := range off {
			if strings.HasPrefix(name, strings.TrimPrefix(o.pkg, "./")+"/") {
				bad++
				fmt.Fprintf(&out, "written off, but gone: %s\n", name)
			}
		}
	}
	rest := len(chosen) - written
	fmt.Printf("%s%d of %d changes noticed (%.1f %%), %d written off\n", out.Bytes(), noticed, rest, 100*float64(noticed)/float64(max(1, rest)), written)
	if bad > 0 {
		return fmt.Errorf("%d changes of %s", bad, o.pkg)
	}
	return nil
}
