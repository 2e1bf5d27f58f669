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
//	PARKD_SIM_TIMELINE=1    tell what happened in that one
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

// summary is what a number of histories amounts to. TestSimulate prints it as a line of JSON.
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

// missing returns what never occurred, and what nobody knows of.
func (s *summary) missing() (all []string) {
	for _, of := range []struct {
		known []string
		seen  map[string]int
	}{{operations(), s.Operations}, {afflictions(), s.FaultsByKind}, {settings(), s.Settings}} {
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

// tally tells how often each kind occurred.
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

// simulate runs n histories, on all processors, and calls saw with each; fewer where over says so.
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

// mostTold is how many broken promises are told in full.
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

// TestPinned runs seeds that have found something. What a seed makes changes with the models; the bugs are in package
// planted, too.
func TestPinned(t *testing.T) {
	for _, seed := range []uint64{
		21,     // signs of life while the node could not beat
		259,    // a merge that put a task in before another was out
		2819,   // a beat that came late hid that runs had ended
		5575,   // a fence that fell late because a beat hung
		5801,   // a fence's timer that came just before the beat had lost its worth
		4293,   // a shim whose timer had slept with its machine
		83530,  // a command that was begun behind its fence
		161028, // a step under a name that the database did not know yet, refused and then taken
		8531,   // a request that was on its way to a database from before it was put back
		92,     // a submission that came while its pool stood in line, given up and stored nonetheless
		290,    // a node that stood in line for seconds after a step in doubt, and heard of nothing
		320,    // a task that was pruned before a node had heard of its end
	} {
		if r := Run(Options{Seed: seed}); r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		}
	}
}

// TestEveryKind: what never happens tests nothing.
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

// TestSameSeed: a seed makes one history, whatever else runs and whether or not it is told.
func TestSameSeed(t *testing.T) {
	for seed := range uint64(40) {
		a, b := Run(Options{Seed: seed}), Run(Options{Seed: seed, Timeline: true})
		if a.Hash != b.Hash || a.Events != b.Events || a.Steps != b.Steps || a.Lasted != b.Lasted {
			t.Errorf("seed %d: %x after %d events, then %x after %d", seed, a.Hash, a.Events, b.Hash, b.Events)
		}
	}
}
