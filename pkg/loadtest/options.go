package loadtest

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Options says what to run. The zero value is 10,000 mixed tasks against a daemon of its own in memory.
type Options struct {
	// N is how many tasks to submit: 10,000 where neither Duration nor Trace is given, the whole trace with a
	// Trace, and no bound with only a Duration.
	N int
	// Duration ends the submitting, however many tasks there were. 0: no bound.
	Duration time.Duration

	// Backend is where the run's own daemon keeps queue, mailbox and audit log: "memory", "file" or "postgres".
	Backend string
	// DSN is the database for the backend postgres. The run leaves what it did there, in a pool of its own. "" starts a
	// server from the installed binaries, which is gone with the run.
	DSN string
	// Nodes is how many daemons share the Postgres; default 1.
	Nodes int
	// Quiet has them find out what the others did by looking alone.
	Quiet bool
	// Server is the URL of a running daemon, used instead of one of our own. Its pool must take simulated work.
	Server string
	Token  string
	// Pool is the pool to load; default "load".
	Pool string
	// Tenant makes all tasks those of one tenant. "" spreads them over several.
	Tenant string
	// Units is the capacity of the own daemon's pool. 0: 24, or what suits the trace.
	Units int64

	// Concurrency is how many clients submit in a closed loop (default 64), or the most submissions under way
	// at once in an open one (default 1024).
	Concurrency int
	// Rate opens the loop: so many tasks arrive a second, at random (exponential) distances.
	Rate float64
	// Batch is how many tasks one submission of a closed loop carries; default 1.
	Batch int
	// Work is the mean simulated run time of a task; default 5 ms.
	Work time.Duration
	// Seed makes the same tasks again.
	Seed uint64

	// Trace is a file of recorded arrivals, see [ReadTrace]. The loop is open.
	Trace string
	// Speed divides all times of the trace; default 1.
	Speed float64

	// Restart kills the own daemon with SIGKILL in the middle of the submissions and starts it again.
	Restart bool

	// Report is where to write the page of [Report.HTML]; "" for none.
	Report string
	// Program is the parkd binary to start; default this program.
	Program string
	// Dir is where the own daemon's files go for the time of the run; default the system's folder for them.
	Dir string

	// Progress is called a few times a second, from one goroutine at a time.
	Progress func(Progress)
	Log      *slog.Logger
}

const (
	defaultN        = 10_000
	defaultUnits    = 24
	defaultWork     = 5 * time.Millisecond
	defaultClosed   = 64
	defaultInFlight = 1024
	maxNodes        = 32
)

// complete fills in the defaults and refuses what does not go together. Its error is a park.InvalidRequest.
func (o Options) complete() (Options, error) {
	if err := o.check(); err != nil {
		return o, err
	}
	if o.N == 0 && o.Duration == 0 && o.Trace == "" {
		o.N = defaultN
	}
	o.Backend = cmp.Or(o.Backend, "memory")
	o.Pool = cmp.Or(o.Pool, o.poolName(time.Now()))
	o.Batch = cmp.Or(o.Batch, 1)
	o.Work = cmp.Or(o.Work, defaultWork)
	o.Speed = cmp.Or(o.Speed, 1)
	if o.openLoop() {
		o.Concurrency = cmp.Or(o.Concurrency, defaultInFlight)
	}
	o.Concurrency = cmp.Or(o.Concurrency, defaultClosed)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Program == "" && o.Server == "" {
		p, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("find this program's file: %w", err)
		}
		o.Program = p
	}
	return o, nil
}

// openLoop reports whether tasks arrive at times of their own.
func (o *Options) openLoop() bool { return o.Trace != "" || o.Rate > 0 }

func (o *Options) check() error {
	switch {
	case o.N < 0 || o.Duration < 0 || o.Units < 0 || o.Concurrency < 0 || o.Work < 0:
		return refuse("numbers and durations must not be negative")
	case !(o.Rate >= 0 && o.Rate <= 1e6):
		return refuse("the rate must be from 0 to 1000000 tasks a second, not %g", o.Rate)
	case !(o.Speed >= 0 && o.Speed <= 1e9):
		return refuse("the speed must be above 0, not %g", o.Speed)
	case o.Batch < 0 || o.Batch > park.MaxBatch:
		return refuse("a batch has from 1 to %d tasks, not %d", park.MaxBatch, o.Batch)
	case o.N > 50_000_000:
		return refuse("at most 50000000 tasks, not %d", o.N)
	case o.Units > park.MaxUnits:
		return refuse("a pool has at most %d units, not %d", int64(park.MaxUnits), o.Units)
	}
	return o.checkTogether()
}

// checkTogether refuses options that contradict each other.
func (o *Options) checkTogether() error {
	switch {
	case o.Trace != "" && o.Rate > 0:
		return refuse("a trace brings its own arrivals: give a speed instead of a rate")
	case o.Trace == "" && o.Speed != 0:
		return refuse("a speed needs a trace: give a rate instead")
	case o.openLoop() && o.Batch > 1:
		return refuse("tasks that arrive one by one cannot be submitted in batches")
	case o.Server != "" && (o.Backend != "" || o.Units != 0 || o.Restart):
		return refuse("the backend, the units and the restart are those of an own daemon: leave them away with a server")
	case o.Server == "" && (o.Pool != "" && o.Pool != "load" || o.Token != ""):
		return refuse("a pool and a token are those of a running daemon: give its server too")
	case o.Tenant != "" && park.CheckName("tenant", o.Tenant) != nil:
		return refuse("the tenant must be printable text of at most %d bytes", park.MaxNameLength)
	}
	return o.checkBackend()
}

func (o *Options) checkBackend() error {
	switch o.Backend {
	case "", "memory", "in_memory":
		if o.Restart {
			return refuse("a restart needs a backend that outlives the daemon: give the backend file")
		}
		o.Backend = strings.TrimPrefix(o.Backend, "in_")
	case "file":
	case "postgres":
		if o.Nodes < 0 || o.Nodes > maxNodes {
			return refuse("there can be from 1 to %d nodes, not %d", maxNodes, o.Nodes)
		}
		return nil
	default:
		return refuse("the backend must be memory, file or postgres, not %q", o.Backend)
	}
	if o.Nodes > 1 || o.DSN != "" || o.Quiet {
		return refuse("a DSN and several nodes are for the backend postgres")
	}
	return nil
}

func refuse(format string, args ...any) error {
	return park.Errorf(park.InvalidRequest, format, args...)
}

func (o *Options) report(p Progress) {
	if o.Progress != nil {
		o.Progress(p)
	}
}
