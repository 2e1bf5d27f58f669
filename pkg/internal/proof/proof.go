// Package proof keeps count of what the proof programme did: the tests that kill, cut, freeze and starve parkd and see
// whether it keeps its promises.
//
// A test that is a campaign says so with [Begin], asks how much it is to do with [Campaign.Target], and tells what it
// did with [Campaign.Add] and [Campaign.Broken]. When it ends, however it ends, one line of JSON is added to the file
// that PARKD_PROOF_LOG names; without that variable nothing is written and the test is a test as any other. Lines look
// like this, and whoever writes such lines by other means is counted as well:
//
//	{"campaign":"simulation","form":"long","histories":200000,"faults":10000000,"asked":{"histories":200000},
//	 "broken":0,"seconds":812.4,"seeds":["1-200000"],"at":"2026-11-24T08:00:00Z"}
//
// campaign is needed; each number apart from broken and seconds is a count of what was done, and asked holds what was
// asked for under the same names. skipped says why a campaign could not run here, interrupted that it was ended early,
// notes what is worth a sentence.
// The program in pkg/internal/proof/prove runs all campaigns and makes docs/reliability.md of the lines.
//
// PARKD_PROOF chooses how much is asked for: "ci" for what a change must pass, "long" for a night; without it a few
// rounds are done. PARKD_PROOF_SECONDS bounds each campaign in time: it then ends with less done than was asked.
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

// The environment of a campaign.
const (
	EnvForm    = "PARKD_PROOF"
	EnvLog     = "PARKD_PROOF_LOG"
	EnvSeconds = "PARKD_PROOF_SECONDS"
	EnvSeed    = "PARKD_PROOF_SEED"
	// EnvBuilds names a folder in which campaigns leave for each other what they have built.
	EnvBuilds = "PARKD_PROOF_BUILDS"
)

// Forms of the programme.
const (
	Short = ""
	CI    = "ci"
	Long  = "long"
)

// Form returns which form is asked for.
func Form() string { return os.Getenv(EnvForm) }

// Patience is how long a campaign waits for what takes a moment on a quiet machine. It ends a wait for what will never
// come; it is no measure of speed, for the machine may be busy with anything.
const Patience = 3 * time.Minute

// Campaign is a test under way. Its methods may be called from several goroutines.
type Campaign struct {
	testing.TB
	began time.Time
	until time.Time // zero: until all is done

	mu   sync.Mutex
	line Line
}

// mistaken returns what is wrong in the environment. Left alone it would be a campaign of another size, or of other choices.
func mistaken() error {
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

// Begin begins a campaign and has its line written when the test ends.
func Begin(t testing.TB, name string) *Campaign {
	t.Helper()
	if err := mistaken(); err != nil {
		t.Fatal(err)
	}
	c := &Campaign{TB: t, began: time.Now(), line: Line{Campaign: name, Form: Form()}}
	if secs, err := strconv.Atoi(os.Getenv(EnvSeconds)); err == nil && secs > 0 {
		c.until = c.began.Add(time.Duration(secs) * time.Second)
	}
	t.Cleanup(c.end)
	c.heed()
	return c
}

// heed has an interrupt end the campaign early but in order: what it started is stopped, and what it did is written down.
func (c *Campaign) heed() {
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
			c.until = c.began
			c.line.Interrupted = true
		case <-over:
		}
	}()
}

// Target returns how many of what are asked for: few in an ordinary test run, and so many in the two forms.
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
	if c.line.Asked == nil {
		c.line.Asked = make(map[string]int64)
	}
	c.line.Asked[what] = int64(n)
	c.add(what, 0)
	return n
}

// More reports whether fewer of what were done than asked for, and there is time for more.
func (c *Campaign) More(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line.Counts[what] < c.line.Asked[what] && !c.spent()
}

// Spent reports whether the campaign's time is over.
func (c *Campaign) Spent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spent()
}

func (c *Campaign) spent() bool { return !c.until.IsZero() && time.Now().After(c.until) }

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

// Broken says that a promise was broken, which fails the test.
func (c *Campaign) Broken(format string, args ...any) {
	c.Helper()
	c.mu.Lock()
	c.line.Broken++
	c.mu.Unlock()
	c.Errorf(format, args...)
}

// Seed notes a seed that has the campaign do the same again.
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

// Absent says that the campaign cannot run on this machine, and why. The test returns then; it is not a failure.
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

// SeedOr returns the seed that PARKD_PROOF_SEED names, or else the given one.
func SeedOr(seed uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(EnvSeed), 10, 64); err == nil {
		return n
	}
	return seed
}
