package loadtest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// fleet is the daemons that the run starts, several if they share a Postgres, and its server if the run starts that
// too.
type fleet struct {
	nodes  []*daemon
	server *server.Server
}

// nodeTTL is short, so that the tasks of a killed node are soon taken over.
const nodeTTL = "2s"

// startFleet starts the daemons and returns when they listen.
func startFleet(ctx context.Context, o Options, w *workload) (*fleet, error) {
	f := &fleet{}
	if err := f.start(ctx, o, w); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *fleet) start(ctx context.Context, o Options, w *workload) error {
	if o.Backend == "postgres" {
		if err := f.prepareDatabase(ctx, &o); err != nil {
			return err
		}
	}
	for range max(1, o.Nodes) {
		d, err := startDaemon(ctx, o, w)
		if err != nil {
			return err
		}
		f.nodes = append(f.nodes, d)
	}
	return nil
}

// prepareDatabase returns a database with the schema: the given one, or one of a new server.
func (f *fleet) prepareDatabase(ctx context.Context, o *Options) (err error) {
	if o.DSN == "" {
		if f.server, err = server.Start(ctx, "shared_buffers=256MB", "max_connections=200"); err != nil {
			return fmt.Errorf("start a server for the load test (or name one with its DSN): %w", err)
		}
		if o.DSN, err = f.server.Create(ctx, "loadtest", "template1"); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, o.Program, "migrate", "up", "--dsn", o.DSN).CombinedOutput(); err != nil {
		return fmt.Errorf("prepare the database: %w\n%s", err, out)
	}
	return nil
}

// service returns the daemons as one service, which sends requests to each in turn.
func (f *fleet) service() (park.Service, error) {
	all := make([]park.Service, len(f.nodes))
	for i, d := range f.nodes {
		c, err := client.New(client.Config{URL: d.url})
		if err != nil {
			return nil, fmt.Errorf("reach %s: %w", d.url, err)
		}
		all[i] = c
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return &roundRobin{Service: all[0], services: all}, nil
}

// restart kills each daemon and starts it again, one after another.
func (f *fleet) restart(ctx context.Context) error {
	for i, d := range f.nodes {
		if i > 0 && !sleep(ctx, restartPause) {
			return ctx.Err()
		}
		if err := d.restart(ctx); err != nil {
			return err
		}
	}
	return nil
}

const restartPause = time.Second

func (f *fleet) alive() error {
	var errs []error
	for _, d := range f.nodes {
		errs = append(errs, d.alive())
	}
	return errors.Join(errs...)
}

func (f *fleet) cpu() (all time.Duration) {
	for _, d := range f.nodes {
		all += d.cpu()
	}
	return all
}

func (f *fleet) close() error {
	var errs []error
	for _, d := range f.nodes {
		errs = append(errs, d.close())
	}
	if f.server != nil {
		errs = append(errs, f.server.Stop())
	}
	return errors.Join(errs...)
}

// poolName returns the name of the pool. On a database that the run does not start, it is unique.
func (o *Options) poolName(now time.Time) string {
	if o.DSN == "" {
		return "load"
	}
	return "load-" + strconv.FormatInt(now.UnixMilli(), 36)
}

// roundRobin sends requests that any daemon can answer to each in turn, and the rest to the first.
type roundRobin struct {
	park.Service
	services []park.Service
	turn     atomic.Uint64
}

func (s *roundRobin) next() park.Service { return s.services[s.turn.Add(1)%uint64(len(s.services))] }

// Submit implements [park.TaskService].
func (s *roundRobin) Submit(ctx context.Context, pool string, tasks []park.Submission) ([]park.SubmitResult, error) {
	return s.next().Submit(ctx, pool, tasks)
}

// Mailbox implements [park.MailboxService].
func (s *roundRobin) Mailbox(ctx context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	return s.next().Mailbox(ctx, q)
}

// Audit implements [park.AuditService].
func (s *roundRobin) Audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error) {
	return s.next().Audit(ctx, q)
}

// Task implements [park.TaskService].
func (s *roundRobin) Task(ctx context.Context, pool, id string, wait time.Duration) (park.Task, error) {
	return s.next().Task(ctx, pool, id, wait)
}

// Cancel implements [park.TaskService].
func (s *roundRobin) Cancel(ctx context.Context, pool, id string) (park.Task, error) {
	return s.next().Cancel(ctx, pool, id)
}

// Tasks implements [park.TaskService].
func (s *roundRobin) Tasks(ctx context.Context, pool string, q park.TaskQuery) (park.TaskPage, error) {
	return s.next().Tasks(ctx, pool, q)
}
