// Package proof records what the proof programme has done: the tests that kill, cut, freeze and starve parkd and check that
// it keeps its guarantees.
//
// A test that is a campaign calls [Begin], asks with [Campaign.Target] how much to do, and reports with [Campaign.Add] and
// [Campaign.Broken]. When it ends, however it ends, it adds one line of JSON to the file in PARKD_PROOF_LOG; without that
// variable nothing is written and it is an ordinary test. Other programs may add such lines too:
//
//	{"campaign":"simulation","form":"long","histories":200000,"faults":10000000,"asked":{"histories":200000},
//	 "broken":0,"seconds":812.4,"seeds":["1-200000"],"at":"2026-11-24T08:00:00Z"}
//
// campaign is required. Each number except broken and seconds is a count, and asked has the targets under the same names.
// skipped says why a campaign could not run on this machine, interrupted that it was ended early, and notes are sentences
// for the report. The program in pkg/internal/proof/prove runs all campaigns and makes docs/reliability.md from the lines.
//
// PARKD_PROOF selects how much is done: "ci" for every change, "long" for a night; without it, a few rounds.
// PARKD_PROOF_SECONDS limits the time of each campaign, which may then miss its targets.
package proof

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"testing"
	"time"
)

// The environment variables of a campaign.
const (
	EnvForm    = "PARKD_PROOF"
	EnvLog     = "PARKD_PROOF_LOG"
	EnvSeconds = "PARKD_PROOF_SECONDS"
	EnvSeed    = "PARKD_PROOF_SEED"
	// EnvBuilds names a folder in which campaigns share what they have built.
	EnvBuilds = "PARKD_PROOF_BUILDS"
)

// Forms of the programme.
const (
	Short = ""
	CI    = "ci"
	Long  = "long"
)

// Form returns the selected form.
func Form() string { return os.Getenv(EnvForm) }

// Patience bounds the waits of a campaign for what takes a moment on a quiet machine. It does not measure speed: the
// machine may be busy.
const Patience = 3 * time.Minute

// Campaign is a running test. Its methods may be called from several goroutines.
type Campaign struct {
	testing.TB
	began    time.Time
	deadline time.Time // zero: no limit

	mu   sync.Mutex
	line Line
}

// checkEnv returns an error if the environment is invalid, which would silently run a different campaign.
func checkEnv() error {
	switch f := Form(); f {
	case Short, CI, Long:
	default:
		return fmt.Errorf("%s must be %s or %s, not %q", EnvForm, CI, Long, f)
	}
	for _, name := range []string{EnvSeconds, EnvSeed} {
		if v := os.Getenv(name); v != "" {
			if _, err := strconv.ParseUint(v, 10, 64); err != nil {
				return fmt.Errorf("%s must be a number, not %q", name, v)
			}
		}
	}
	return nil
}

// Begin begins a campaign, whose line is written when the test ends.
func Begin(t testing.TB, name string) *Campaign {
	t.Helper()
	if err := checkEnv(); err != nil {
		t.Fatal(err)
	}
	c := &Campaign{TB: t, began: time.Now(), line: Line{Campaign: name, Form: Form()}}
	if secs, err := strconv.Atoi(os.Getenv(EnvSeconds)); err == nil && secs > 0 {
		c.deadline = c.began.Add(time.Duration(secs) * time.Second)
	}
	t.Cleanup(c.end)
	c.endOnInterrupt()
	return c
}

// endOnInterrupt makes an interrupt end the campaign early but in order: everything it started is stopped, and its line
// is written.
func (c *Campaign) endOnInterrupt() {
	signals, over := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt)
	c.Cleanup(func() {
		signal.Stop(signals)
		close(over)
	})
	go func() {
		select {
		case <-signals:
			c.mu.Lock()
			defer c.mu.Unlock()
			c.deadline = c.began
			c.line.Interrupted = true
		case <-over:
		}
	}()
}

// Target returns how many of what to do: few in an ordinary test run, ci and long in the two forms.
func (c *Campaign) Target(what string, few, ci, long int) int {
	n := few
	switch c.line.Form {
	case CI:
		n = ci
	case Long:
		n = long
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line.Targets == nil {
		c.line.Targets = make(map[string]int64)
	}
	c.line.Targets[what] = int64(n)
	c.add(what, 0)
	return n
}

// More reports whether fewer of what were done than the target, and there is time for more.
func (c *Campaign) More(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line.Counts[what] < c.line.Targets[what] && !c.spent()
}

// Spent reports whether the campaign's time is over.
func (c *Campaign) Spent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spent()
}

func (c *Campaign) spent() bool { return !c.deadline.IsZero() && time.Now().After(c.deadline) }

// Add counts n more of what.
func (c *Campaign) Add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(what, n)
}

func (c *Campaign) add(what string, n int) {
	if c.line.Counts == nil {
		c.line.Counts = make(map[string]int64)
	}
	c.line.Counts[what] += int64(n)
}

// Count returns how many of what were done.
func (c *Campaign) Count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(c.line.Counts[what])
}

// Broken records a broken guarantee, which fails the test.
func (c *Campaign) Broken(format string, args ...any) {
	c.Helper()
	c.mu.Lock()
	c.line.Broken++
	c.mu.Unlock()
	c.Errorf(format, args...)
}

// Seed records a seed with which the campaign can be repeated.
func (c *Campaign) Seed(seed string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line.Seeds = append(c.line.Seeds, seed)
}

// Note adds a sentence to the report.
func (c *Campaign) Note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line.Notes = append(c.line.Notes, fmt.Sprintf(format, args...))
}

// Absent records that the campaign cannot run on this machine, and why. The test then returns; it has not failed.
func (c *Campaign) Absent(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line.Skipped = fmt.Sprintf(format, args...)
	c.Log(c.line.Skipped)
}

func (c *Campaign) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Failed() && c.line.Broken == 0 {
		c.line.Broken = 1
	}
	c.line.Seconds = time.Since(c.began).Seconds()
	c.line.At = time.Now().UTC().Format(time.RFC3339)
	b, err := json.Marshal(&c.line)
	if err != nil {
		c.Errorf("write the line of campaign %s: %v", c.line.Campaign, err)
		return
	}
	c.Logf("%s", b)
	if err := appendLine(os.Getenv(EnvLog), b); err != nil {
		c.Errorf("write the line of campaign %s: %v", c.line.Campaign, err)
	}
}

func appendLine(path string, b []byte) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(b, '\n'))
	return err
}

// SeedOr returns the seed in PARKD_PROOF_SEED, or else the given one.
func SeedOr(seed uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(EnvSeed), 10, 64); err == nil {
		return n
	}
	return seed
}
