package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

// The tests read three settings:
//
//	PARKD_SIM_SEEDS=10000   how many histories TestSimulate runs
//	PARKD_SIM_SEED=1        the first seed; with PARKD_SIM_SEEDS=1 the only one
//	PARKD_SIM_TIMELINE=1    print the timeline of that one
func setting(t *testing.T, name string, unset uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return unset
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s must be a number, not %q", name, s)
	}
	return n
}

// summary sums up several histories. TestSimulate prints it as a line of JSON.
type summary struct {
	Histories        int            `json:"histories"`
	FirstSeed        uint64         `json:"firstSeed"`
	Faults           int            `json:"faults"`
	FaultsByKind     map[string]int `json:"faultsByKind"`
	Operations       map[string]int `json:"operations"`
	Settings         map[string]int `json:"settings"`
	Steps            int            `json:"steps"`
	Tasks            int            `json:"tasks"`
	Events           int            `json:"events"`
	SimulatedSeconds int64          `json:"simulatedSeconds"`
	WallSeconds      float64        `json:"wallSeconds"`
	PromisesBroken   int            `json:"promisesBroken"`
	FailedSeeds      []uint64       `json:"failedSeeds"`

	simulated time.Duration
}

func newSummary(first uint64) *summary {
	return &summary{
		FirstSeed: first, FaultsByKind: make(map[string]int), Operations: make(map[string]int), Settings: make(map[string]int), FailedSeeds: []uint64{},
	}
}

// missing returns the kinds that never occurred, and those that are unknown.
func (s *summary) missing() (all []string) {
	for _, of := range []struct {
		known []string
		seen  map[string]int
	}{{operations(), s.Operations}, {faultCounts(), s.FaultsByKind}, {settings(), s.Settings}} {
		for _, k := range of.known {
			if of.seen[k] == 0 {
				all = append(all, k)
			}
		}
		for k := range of.seen {
			if !slices.Contains(of.known, k) {
				all = append(all, k+" among what is known")
			}
		}
	}
	return all
}

// tally prints how often each kind occurred.
func tally(counts map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, counts[k]))
	}
	return strings.Join(parts, ", ")
}

func (s *summary) add(r *Result) {
	s.Histories++
	for k, n := range r.Faults {
		s.FaultsByKind[k] += n
		s.Faults += n
	}
	for k, n := range r.Operations {
		s.Operations[k] += n
	}
	for k, n := range r.Settings {
		s.Settings[k] += n
	}
	s.Steps, s.Tasks, s.Events = s.Steps+r.Steps, s.Tasks+r.Tasks, s.Events+r.Events
	s.simulated += r.Lasted
	if r.Err != nil {
		s.PromisesBroken++
		s.FailedSeeds = append(s.FailedSeeds, r.Seed)
	}
}

// simulate runs n histories, on all processors, and calls saw with each; it ends early if over returns true.
func simulate(first, n uint64, over func() bool, saw func(Result)) {
	var next atomic.Uint64
	var all sync.WaitGroup
	for range min(n, uint64(runtime.GOMAXPROCS(0))) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < n && !over(); i = next.Add(1) - 1 {
				saw(Run(Options{Seed: first + i}))
			}
		})
	}
	all.Wait()
}

// mostTold is how many violations are printed in full.
const mostTold = 3

func TestSimulate(t *testing.T) {
	c := proof.Begin(t, "simulation")
	first := setting(t, "PARKD_SIM_SEED", 1)
	n := setting(t, "PARKD_SIM_SEEDS", uint64(c.Target("histories", 100, 10_000, 200_000)))
	c.Target("faults", 0, 500_000, 10_000_000)
	s := newSummary(first)
	began := time.Now()
	var mu sync.Mutex
	simulate(first, n, c.Spent, func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		s.add(&r)
		if r.Err != nil {
			c.Broken("seed %d: %v", r.Seed, r.Err)
		}
	})
	c.Add("histories", s.Histories)
	c.Add("faults", s.Faults)
	c.Add("simulated seconds", int(s.simulated.Seconds()))
	c.Seed(fmt.Sprintf("%d-%d", first, first+uint64(s.Histories)-1))
	s.WallSeconds, s.SimulatedSeconds = time.Since(began).Seconds(), int64(s.simulated.Seconds())
	for _, seed := range s.FailedSeeds[:min(len(s.FailedSeeds), mostTold)] {
		t.Log(Explain(Options{Seed: seed}))
	}
	if n == 1 && setting(t, "PARKD_SIM_TIMELINE", 0) != 0 {
		for _, l := range Run(Options{Seed: first, Timeline: true}).Timeline {
			t.Log(l)
		}
	}
	line, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("simulation: %s\n", line)
	c.Note("histories are made of: operations %s; faults %s; settings %s", tally(s.Operations), tally(s.FaultsByKind), tally(s.Settings))
	if s.Histories >= 1000 {
		for _, k := range s.missing() {
			t.Errorf("%d histories have no %s", s.Histories, k)
		}
	}
	if n >= 100 && (s.Faults < 20*s.Histories || s.Tasks < 5*s.Histories) {
		t.Errorf("%d faults and %d tasks in %d histories prove little", s.Faults, s.Tasks, s.Histories)
	}
}

// TestPinned runs seeds that once found a bug. What a seed does changes with the models, so package planted has the
// bugs too.
func TestPinned(t *testing.T) {
	for _, seed := range []uint64{
		21,     // alive messages while the node could not send heartbeats
		259,    // a merge that inserted a task before another was removed
		2819,   // a late heartbeat that hid that runs had ended
		5575,   // a fence that was late because a heartbeat hung
		5801,   // a fence's timer that fired just before the heartbeat was outdated
		4293,   // a shim whose timer stood still while its machine was suspended
		83530,  // a command that was started after its fence
		161028, // a step under a name that was new to the database, refused and then accepted
		8531,   // a request that was sent to a database before it was restored
		92,     // a submission that was given up while its pool waited for its turn, and stored nonetheless
		290,    // a node that waited seconds for its turn after a step in doubt, and learned of nothing
		320,    // a task that was pruned before a node had learned of its end
	} {
		if r := Run(Options{Seed: seed}); r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		}
	}
}

// TestEveryKind: every kind of fault and operation must occur.
func TestEveryKind(t *testing.T) {
	s := newSummary(1)
	var mu sync.Mutex
	simulate(1, 150, func() bool { return false }, func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		s.add(&r)
	})
	for _, k := range s.missing() {
		t.Errorf("no %s in 150 histories", k)
	}
}

// TestSameSeed: a seed gives the same history, with or without a timeline.
func TestSameSeed(t *testing.T) {
	for seed := range uint64(40) {
		a, b := Run(Options{Seed: seed}), Run(Options{Seed: seed, Timeline: true})
		if a.Hash != b.Hash || a.Events != b.Events || a.Steps != b.Steps || a.Lasted != b.Lasted {
			t.Errorf("seed %d: %x after %d events, then %x after %d", seed, a.Hash, a.Events, b.Hash, b.Events)
		}
	}
}
