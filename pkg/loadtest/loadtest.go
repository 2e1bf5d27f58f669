// Package loadtest drives a daemon over HTTP and judges from outside whether it kept its promises.
//
// A run starts a daemon of its own (or takes a running one), offers it tasks that only take simulated time, and
// afterwards compares what does not depend on each other: what the generator sent and was answered, what the event
// stream told, what the audit log says, what lies in the mailboxes, and the tasks as they are read back. Each task must
// have ended as it was asked to, a few of them by a cancellation or their time limit. The log is played again by package
// replay, which shares no code with the scheduler.
//
// # Load
//
// In a closed loop (the default) a fixed number of clients submit one task, or one batch, after the other. With
// a rate or a trace the loop is open: every task has an intended time of arrival that does not depend on the
// daemon, and the latency of its submission is counted from that time, so that a stall of the daemon is charged
// with everything it held up. A submission whose answer was lost is sent again under its id until it is answered.
//
// # Wake time
//
// The wake time is from the moment capacity came free for a parked task to the moment that it was really
// running. Which step set the task free is known from the log: the judge plays it beside a pool that never
// hesitates, in which a task starts in the step that frees the last units it needs, behind everyone who is
// before it by priority and arrival. The generator watches the event stream and notes by its own clock when it
// sees each step. As a simulated task runs for a time d that the generator chose, it was running at the latest
// d before its end was seen, and
//
//	wake = seen(end of the task) − d − seen(step that set it free), and 0 where that is negative.
//
// That charges the daemon with the start of the work, with making the end durable, with the delay of the event
// stream and with the jitter of its timers: it is an upper bound. Steps that were seen late because the stream
// had broken (after a restart) have no such figure; for them, and for runs that were interrupted, the time
// between the two steps in the log itself is taken. That one is also reported by itself.
//
// The Go package is no API: it may change with any release.
package loadtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/loadtest/transport"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Phase says what a run is doing.
type Phase string

// The phases of a run, in order.
const (
	Starting   Phase = "starting"
	Submitting Phase = "submitting"
	Draining   Phase = "draining" // waiting for the tasks to end
	Judging    Phase = "judging"  // reading the audit log and the mailboxes
)

// Progress is how far a run is.
type Progress struct {
	Phase     Phase
	Elapsed   time.Duration // since the first submission
	Total     int           // tasks to submit; 0 where only the duration is given
	Submitted int
	Accepted  int
	Ended     int
	Parked    int // right now, as the event stream tells
	Running   int
}

// Run runs a load test. An error says that it could not be run to its end; a daemon that breaks its promises
// is no error but a report whose [Report.OK] is false. Everything that Run starts it stops before it returns.
func Run(ctx context.Context, o Options) (*Report, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	load, err := o.workload()
	if err != nil {
		return nil, err
	}
	o.report(Progress{Phase: Starting})
	t, err := o.open(ctx, load)
	if err != nil {
		return nil, err
	}
	r, err := measure(ctx, o, load, t)
	if stopErr := t.close(); err == nil && stopErr != nil {
		err = stopErr
	}
	if err != nil {
		return nil, err
	}
	if o.Report != "" {
		if err := r.writeFile(o.Report); err != nil {
			return r, err
		}
	}
	return r, nil
}

// target is the daemon under load.
type target struct {
	service park.Service
	pool    park.Pool
	fleet   *fleet // nil for a daemon that was running before
	tls     bool
	run     string // prefix of the ids of this run's tasks, unique to the run
}

// newSubmitter returns the interface through which a client submits: a [transport.Conn] to one of the daemons, or the service
// if there can be none.
func (t *target) newSubmitter(ctx context.Context, n int) submitter {
	c, ok := t.service.(*client.Client)
	if s, several := t.service.(*roundRobin); several {
		c, ok = s.services[n%len(s.services)].(*client.Client)
	}
	if !ok || t.tls {
		return t.service
	}
	return c.WithTransport(transport.NewConn(ctx))
}

func (t *target) close() error {
	if t.fleet == nil {
		return nil
	}
	return t.fleet.close()
}

// alive returns an error when an own daemon has ended by itself.
func (t *target) alive() error {
	if t.fleet == nil {
		return nil
	}
	return t.fleet.alive()
}

// open reaches the daemon, starting one where none is given.
func (o Options) open(ctx context.Context, w *workload) (*target, error) {
	t := &target{run: fmt.Sprintf("lt%d-", o.Seed)}
	if o.Server != "" || o.DSN != "" { // other runs may have left their tasks there
		t.run = "lt" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-"
	}
	var err error
	if o.Server == "" {
		if t.fleet, err = startFleet(ctx, o, w); err != nil {
			return nil, err
		}
		t.service, err = t.fleet.service()
	} else {
		t.tls = strings.HasPrefix(o.Server, "https:")
		t.service, err = client.New(client.Config{URL: o.Server, Token: o.Token})
	}
	if err == nil {
		err = t.find(ctx, o.Pool)
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *target) find(ctx context.Context, pool string) (err error) {
	if t.pool, err = t.service.Pool(ctx, pool); err != nil {
		return fmt.Errorf("read pool %s: %w", pool, err)
	}
	return usable(t.pool)
}

// usable refuses a pool that cannot do simulated work.
func usable(p park.Pool) error {
	switch {
	case p.Executor != "simulate":
		return fmt.Errorf("pool %s has the executor %q: a load test needs one of type simulate, so that no real work is done", p.PoolID, p.Executor)
	case p.State != park.Active:
		return fmt.Errorf("pool %s is %s: a load test needs an active one", p.PoolID, p.State)
	case p.MaxUnits < 1:
		return fmt.Errorf("pool %s has no units, so nothing can start in it", p.PoolID)
	case p.Halted != "":
		return fmt.Errorf("pool %s has halted: %s", p.PoolID, p.Halted)
	}
	return nil
}
