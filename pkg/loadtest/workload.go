package loadtest

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// job is one task as the generator plans it.
type job struct {
	arrival  time.Duration // in an open loop: since the start of the run
	units    int64
	priority park.Priority
	tenant   string
	key      string
	work     time.Duration
	fail     bool
	slack    time.Duration // the deadline is so long after the arrival; 0: none
	limit    time.Duration // its own time limit, in whole seconds; 0: none
	cancel   cancelling
}

// cancelling says when a task is to be cancelled.
type cancelling uint8

const (
	never cancelling = iota
	atOnce
	onceRunning
)

// workload is a sequence of jobs, always the same for the same options. It is not safe for use by several
// goroutines.
type workload struct {
	name  string
	units int64 // of the pool that suits it
	size  int   // 0: no end
	open  bool
	until time.Duration // 0: no bound of time
	next  func(i int) job
	work  time.Duration // the longest
}

// workload returns the load for the options.
func (o *Options) workload() (*workload, error) {
	if o.Trace == "" {
		return o.mixed(), nil
	}
	f, err := os.Open(o.Trace)
	if err != nil {
		return nil, refuse("the trace cannot be read: %v", err)
	}
	defer func() { _ = f.Close() }()
	t, err := ReadTrace(o.Trace, f)
	if err != nil {
		return nil, err
	}
	return o.replayed(t), nil
}

// replayed returns the load of a trace, its times divided by the speed.
func (o *Options) replayed(t *Trace) *workload {
	jobs := t.Jobs
	if o.N > 0 {
		jobs = jobs[:min(o.N, len(jobs))]
	}
	w := &workload{name: t.Name, units: t.Units, size: len(jobs), open: true, until: o.Duration}
	if o.Units > 0 {
		w.units = o.Units
	}
	fast := func(d time.Duration) time.Duration { return time.Duration(float64(d) / o.Speed) }
	for i := range jobs {
		w.work = max(w.work, millis(fast(jobs[i].Work)))
	}
	w.next = func(i int) job {
		t := &jobs[i]
		j := job{
			arrival: fast(t.Arrival), units: t.Units, priority: t.Priority, tenant: t.Tenant, key: t.Key,
			work: millis(fast(t.Work)), slack: fast(t.Slack),
		}
		if o.Tenant != "" {
			j.tenant = o.Tenant
		}
		return j
	}
	return w
}

// millis rounds d to whole milliseconds, at least 1: the unit of simulated work.
func millis(d time.Duration) time.Duration { return max(d.Round(time.Millisecond), time.Millisecond) }

// The mix of the default load.
const (
	mostUnits    = 8
	tenants      = 6
	keysATenant  = 8
	failShare    = 0.02
	limitedShare = 0.10 // of the tasks have a deadline,
	leastSlack   = 50 * time.Millisecond
	mostSlack    = 5 * time.Second // so long after their arrival
	// Some tasks would run for so long that a daemon that does not stop them, though they are cancelled or have a time
	// limit, is found out. They take one unit each, and only until they are stopped.
	endless     = 10 * time.Second
	leastLimit  = time.Second
	cancelEvery = 100  // tasks; every second one when it runs, the others as soon as they are accepted
	limitEvery  = 5000 // tasks
	firstCancel = 41
	firstLimit  = 2500
)

// mixed returns the default load: most tasks are small and short.
func (o *Options) mixed() *workload {
	w := &workload{name: "mixed", units: defaultUnits, size: o.N, open: o.openLoop(), until: o.Duration, work: millis(20 * o.Work)}
	if o.Units > 0 {
		w.units = o.Units
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], o.Seed)
	rng := rand.New(rand.NewChaCha8(seed))
	largest := float64(min(mostUnits, w.units))
	var clock time.Duration
	w.next = func(i int) job {
		j := job{
			units:    1 + int64(largest*math.Pow(rng.Float64(), 2.2)),
			priority: mixedPriority(rng.Float64()),
			tenant:   "tenant-" + strconv.Itoa(rng.IntN(tenants)),
			key:      "box-" + strconv.Itoa(rng.IntN(keysATenant)),
			work:     millis(min(time.Duration(rng.ExpFloat64()*float64(o.Work)), w.work)),
			fail:     rng.Float64() < failShare,
		}
		if rng.Float64() < limitedShare {
			j.slack = time.Duration(float64(leastSlack) * math.Pow(float64(mostSlack/leastSlack), rng.Float64()))
		}
		if gap := rng.ExpFloat64(); o.Rate > 0 {
			clock += time.Duration(gap / o.Rate * float64(time.Second))
			j.arrival = clock
		}
		if o.Tenant != "" {
			j.tenant = o.Tenant
		}
		j.makeEndless(i)
		return j
	}
	return w
}

// makeEndless makes a few of the tasks endless, with a cancellation or a time limit.
func (j *job) makeEndless(i int) {
	switch {
	case i%limitEvery == firstLimit:
		j.limit, j.priority = leastLimit, park.Critical // so that nothing is left to wait for at the end but its run
	case i%(2*cancelEvery) == firstCancel:
		j.cancel = onceRunning
	case i%cancelEvery == firstCancel:
		j.cancel = atOnce
	default:
		return
	}
	j.units, j.work, j.fail, j.slack = 1, endless, false, 0
}

func mixedPriority(u float64) park.Priority {
	switch {
	case u < 0.20:
		return park.Low
	case u < 0.70:
		return park.Normal
	case u < 0.95:
		return park.High
	}
	return park.Critical
}

// submission returns job number i as it is sent at a time. If it is sent again it must be identical.
func (j *job) submission(run string, i int, arrived time.Time) park.Submission {
	s := park.Submission{
		TaskID:       run + strconv.Itoa(i),
		Tenant:       j.tenant,
		Priority:     j.priority,
		ResourceCost: park.Cost{Units: park.Units(j.units)},
		MailboxKey:   park.MailboxRef{Key: run + j.key},
		TimeoutSecs:  park.Seconds(j.limit / time.Second),
		Payload:      payload(j.work, j.fail, i),
	}
	if j.slack > 0 {
		s.Deadline = park.At(arrived.Add(j.slack))
	}
	return s
}

// payload returns the payload for the simulate executor. The result is the job's number, so that a misplaced outcome is
// noticed.
func payload(work time.Duration, fail bool, i int) []byte {
	b := append([]byte(`{"durationMs":`), strconv.FormatInt(work.Milliseconds(), 10)...)
	if fail {
		b = append(b, `,"fail":true`...)
	}
	b = append(b, `,"result":`...)
	b = strconv.AppendInt(b, int64(i), 10)
	return append(b, '}')
}
