package sim

import (
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// plan is drawn from the seed before a history begins.
type plan struct {
	nodes      int
	workers    int
	mailboxes  int
	operators  int
	quiet      bool
	inProcess  bool // executors run in the daemon's own process, without shims
	pools      []park.PoolSpec
	activeTime time.Duration // how long tasks are submitted and faults injected
	maxRun     time.Duration // of a task
	unit       int64         // costs and capacities are multiples of it
	patience   time.Duration // Patience of the engine: how long a call waits for the store
	retention  time.Duration // of what has ended; 0: for ever
	huge       bool          // some results have megabytes
}

// faults are the rates of faults.
type faults struct {
	kinds        []string
	loss         float64 // of a message
	repeat       float64
	late         float64
	maxDelay     time.Duration
	hintLoss     float64
	slow         bool
	full         bool
	cancelStarts bool          // tasks are cancelled just as they start
	interval     time.Duration // between two faults
}

// Kinds lists the kinds of faults. Each seed switches on some of them.
func Kinds() []string {
	return []string{
		"crash", "stop", "freeze", "long freeze", "suspend", "partition", "long partition", "loss", "repeat", "late", "hints",
		"clock step", "clock rate", "outage", "disk full", "power cut", "slow", "operators", "worker crash", "restore",
		"shortage", "long outage", "lost replies", "cancels", "pruning", "terms", "files", "unreadable", "odd work", "refusals",
	}
}

// drawPlan draws the plan and the faults of a history. Kinds in without are left out; nothing else changes.
func (h *history) drawPlan(without []string) {
	single := h.chance(0.3)
	p := plan{nodes: 1 + h.rng.IntN(5), mailboxes: 3, quiet: h.chance(0.4), activeTime: h.between(5*time.Second, 12*time.Second)}
	p.maxRun = h.between(100*time.Millisecond, 2*time.Second)
	if h.chance(0.4) {
		p.maxRun *= 4
	}
	p.inProcess = h.chance(0.3)
	p.patience = h.between(time.Second, 3*time.Second).Truncate(time.Millisecond)
	if single {
		p.nodes = 1
	}
	if p.unit = 1; h.chance(0.15) {
		p.unit = park.MaxUnits / 64
	}
	p.huge = h.chance(0.04)
	h.plan = p // used to size the pools
	p.pools = append(p.pools, h.pool("gpu", park.Native))
	if h.chance(0.5) {
		p.pools = append(p.pools, h.pool("edge", park.CloudWorker))
		p.workers = 1 + h.rng.IntN(3)
	}
	h.plan, h.singleNode = p, single
	density := 0.2 + 0.5*h.rng.Float64()
	on := make(map[string]bool)
	for _, k := range Kinds() {
		if on[k] = h.chance(density); on[k] && !slices.Contains(without, k) {
			h.faults.kinds = append(h.faults.kinds, k)
		}
	}
	h.drawRates()
}

func (h *history) pool(id string, r park.Runtime) park.PoolSpec {
	s := park.PoolSpec{
		ID: id, Kind: park.GPUVram, MaxUnits: h.plan.unit * (1 + h.rng.Int64N(12)), MaxQueueDepth: 2 + h.rng.IntN(40), Runtime: r,
		QueueBackend: park.Postgres, MailboxBackend: park.Postgres, MaxResultBytes: 300,
	}
	if h.plan.huge {
		s.MaxResultBytes = 16 << 20
	}
	if h.chance(0.2) {
		s.DefaultTimeout = time.Duration(1+h.rng.IntN(2)) * time.Second
	}
	if h.chance(0.2) {
		s.Retry = park.Retry{MaxAttempts: 2, Backoff: park.Duration(50 * time.Millisecond)}
	}
	return s
}

// drawRates draws the rates. It draws all of them in any case, so that leaving out a kind changes nothing else.
func (h *history) drawRates() {
	f := &h.faults
	loss, repeat, late := h.rng.Float64()*0.05, h.rng.Float64()*0.05, h.rng.Float64()*0.05
	latest := h.between(20*time.Millisecond, 3*time.Second)
	retention := h.between(longestTTL+longestGrace+300*time.Millisecond, longestTTL+longestGrace+time.Second).Truncate(time.Millisecond)
	f.interval = h.between(50*time.Millisecond, 600*time.Millisecond)
	if h.chance(0.3) {
		f.interval *= 4 // one fault at a time
	}
	f.hintLoss = 0
	for _, k := range f.kinds {
		switch k {
		case "loss":
			f.loss = loss
		case "repeat":
			f.repeat = repeat
		case "late":
			f.late, f.maxDelay = late, latest
		case "hints":
			f.hintLoss = 0.9
		case "slow":
			f.slow = true
		case "disk full":
			f.full = true
		case "operators":
			h.plan.operators = 1
		case "cancels":
			f.cancelStarts = true
		case "pruning":
			// If clocks differed by an hour, a task that has just ended would be old.
			if !slices.Contains(f.kinds, "clock step") {
				h.plan.retention = retention
				h.plan.activeTime += retention
			}
		}
	}
	if h.singleNode {
		f.loss, f.repeat, f.late = 0, 0, 0
	}
}
