package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/mutant"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Logs opens what a run of a task wrote.
type Logs interface {
	// Log returns the output of a run. With Follow it goes on until ended is closed and all is read, and where q names
	// an attempt until a later one has begun.
	Log(ctx context.Context, pool, task string, attempt int, q park.LogQuery, ended <-chan struct{}) (*park.Log, error)
}

const (
	defaultLimit = 100
	maxLimit     = 1000   // of what may carry a result
	maxEvents    = 10_000 // of a page of the audit log
)

// Submit implements [park.TaskService].
func (e *Engine) Submit(ctx context.Context, id string, tasks []park.Submission) ([]park.SubmitResult, error) {
	p, err := e.pool(id)
	if err != nil {
		return nil, err
	}
	if len(tasks) > park.MaxBatch {
		return nil, park.Errorf(park.InvalidRequest, "tasks must be at most %d, not %d", park.MaxBatch, len(tasks))
	}
	if len(tasks) == 1 {
		r, err := p.submit(ctx, tasks[0])
		if err != nil {
			return nil, err
		}
		return []park.SubmitResult{r}, nil
	}
	out := make([]park.SubmitResult, len(tasks))
	ops := make([]lot.Op, 0, len(tasks))
	index := make([]int, 0, len(tasks))
	for i := range tasks {
		op, err := p.resolve(tasks[i])
		if err != nil {
			out[i].Err = err
			continue
		}
		ops, index = append(ops, op), append(index, i)
	}
	results, err := p.doMany(ctx, ops)
	if err != nil {
		return nil, err
	}
	for k := range results {
		out[index[k]] = p.submitted(ops[k].(lot.Submit).Spec, &results[k])
	}
	return out, nil
}

// submit is Submit for a single task.
func (p *pool) submit(ctx context.Context, s park.Submission) (r park.SubmitResult, err error) {
	op, refused := p.resolve(s)
	if refused != nil {
		return park.SubmitResult{Err: refused}, nil //nolint:nilerr // a refusal is the task's result, not the call's error
	}
	results, err := p.do(ctx, op)
	switch {
	case err == nil:
		return p.submitted(op.Spec, &results[0]), nil
	case park.CodeOf(err) == park.OutcomeUnknown:
		return p.submitted(op.Spec, &lot.Result{Err: asError(err)}), nil
	default:
		return park.SubmitResult{}, err
	}
}

func (p *pool) submitted(s *park.Spec, r *lot.Result) park.SubmitResult {
	if r.Err != nil {
		return park.SubmitResult{Err: asError(about(s.TaskID, r.Err))}
	}
	return park.SubmitResult{Accepted: park.Accepted{
		TaskID: s.TaskID, PoolID: p.ID, Status: r.Status, Position: r.Position, SubmittedAt: r.SubmittedAt,
	}}
}

// doMany is do for more operations than may fit into one step: they are put into several, in order. What one step fails
// with is the result of its operations, unless it is true of all: then the call fails.
func (p *pool) doMany(ctx context.Context, ops []lot.Op) ([]lot.Result, error) {
	due := p.eng.due()
	var sent []*request
	var unsent error
	for rest := ops; len(rest) > 0 && unsent == nil; {
		n := p.portion(rest)
		r := &request{ops: rest[:n:n], reply: make(chan reply, 1)}
		if unsent = p.sendBy(ctx, r, due); unsent == nil {
			sent, rest = append(sent, r), rest[n:]
		}
	}
	results := make([]lot.Result, 0, len(ops))
	failure, nothing := unsent, true // nothing: it is known that none was taken
	for _, r := range sent {
		res, err := p.waitBy(ctx, r, due)
		if err != nil && errors.Is(err, ctx.Err()) {
			return nil, err
		}
		if err != nil {
			res, failure = failed(len(r.ops), err), err
		}
		nothing = nothing && err != nil && park.CodeOf(err) != park.OutcomeUnknown
		results = append(results, res...)
	}
	if failure != nil && nothing {
		return nil, failure
	}
	return append(results, failed(len(ops)-len(results), unsent)...), nil
}

// portion returns how many of the operations, from the first on, belong into one step.
func (p *pool) portion(ops []lot.Op) int {
	size := 0
	for i := range ops {
		if size += p.weightOf(ops[i : i+1]); i == maxOps || i > 0 && size > maxStepBytes {
			return i
		}
	}
	return len(ops)
}

// failed returns the results of n operations whose step failed.
func failed(n int, err error) []lot.Result {
	all := make([]lot.Result, n)
	for i := range all {
		all[i].Err = asError(err)
	}
	return all
}

// asError returns what a task's client is told of an error. What is not known to have left the task alone may have taken it.
func asError(err error) *park.Error {
	if e, ok := errors.AsType[*park.Error](err); ok {
		return e
	}
	return park.Errorf(park.OutcomeUnknown, "%v", err)
}

// resolve turns a submission into a task of the pool, or says what is wrong with it.
func (p *pool) resolve(s park.Submission) (op lot.Submit, refused *park.Error) {
	if err := s.Normalize(); err != nil {
		return op, asError(err)
	}
	if err := p.check(&s); err != nil {
		return op, err
	}
	// The digest of a task whose id is made here is that of its submission with that id, for so it is sent again.
	if op.NewID = s.TaskID == ""; op.NewID {
		s.TaskID = p.eng.world.ID()
	}
	if s.OwnIDs && !op.NewID {
		op.OwnID = park.TenantTaskID(s.TaskID, s.Tenant)
	}
	spec := &park.Spec{
		PoolID: p.ID, TaskID: s.TaskID, Tenant: s.Tenant, MailboxKey: s.MailboxKey.Key, Priority: s.Priority,
		Units: max(1, int64(s.ResourceCost.Units)), Deadline: park.At(s.Deadline.Time),
		Timeout: time.Duration(s.TimeoutSecs) * time.Second, Retry: s.Retry,
		Payload: s.Payload, Command: s.Command, WorkDir: s.WorkDir, Digest: s.Digest(),
	}
	if spec.Timeout == 0 {
		spec.Timeout = p.DefaultTimeout
	}
	if spec.Retry == (park.Retry{}) {
		spec.Retry = p.Retry
	}
	op.Spec = spec
	return op, nil
}

// check says what in a submission does not suit the pool.
func (p *pool) check(s *park.Submission) *park.Error {
	for i, arg := range s.Command {
		if !storable(arg) {
			return park.Errorf(park.InvalidRequest, "command[%d] must be UTF-8 without the character 0", i)
		}
	}
	if !storable(s.WorkDir) {
		return park.Errorf(park.InvalidRequest, "workDir must be UTF-8 without the character 0")
	}
	switch k := s.ResourceCost.Kind; {
	case k != "" && p.Kind != "" && k != p.Kind:
		return park.Errorf(park.InvalidRequest, "resourceCost.kind must be %s, the kind of pool %s, not %s", p.Kind, p.ID, k)
	case len(s.Command) > 0 && !p.TakesCommands:
		return park.Errorf(park.InvalidRequest, "command is not taken by pool %s (executor %s): leave it out and send a payload", p.ID, p.Pool.PoolSpec.Executor)
	case len(s.Command) == 0 && p.NeedsCommand:
		return park.Errorf(park.InvalidRequest, "command is missing: pool %s runs commands and has none of its own", p.ID)
	case len(s.Payload) == 0:
		return nil
	}
	if err := park.CheckJSON(s.Payload); err != nil {
		return park.Errorf(park.InvalidRequest, "payload %v", err)
	}
	return nil
}

// Task implements [park.TaskService].
func (e *Engine) Task(ctx context.Context, pool, id string, wait time.Duration) (park.Task, error) {
	p, err := e.pool(pool)
	if err != nil {
		return park.Task{}, err
	}
	deadline := e.clock.mono() + wait
	for {
		ended, leave := e.hub.join(taskTopic(p.ID, id))
		t, err := p.task(ctx, id)
		left := deadline - e.clock.mono()
		if err != nil || t.Status.Ended() || wait <= 0 || left <= 0 {
			leave()
			return t, err
		}
		err = sleep(ctx, p, ended, left)
		leave()
		if err != nil {
			return park.Task{}, err
		}
	}
}

func (p *pool) task(ctx context.Context, id string) (park.Task, error) {
	records, err := p.queue.Records(ctx, p.ID, []string{id})
	if err != nil {
		return park.Task{}, errStorageBecause(ctx, p, err)
	}
	if len(records) == 0 {
		return park.Task{}, park.Errorf(park.TaskNotFound, "pool %s has no task %q", p.ID, id)
	}
	tasks := p.tasksOf(ctx, records)
	return tasks[0], nil
}

// tasksOf returns records as clients see them, with the positions of those that are parked.
func (p *pool) tasksOf(ctx context.Context, records []park.Record) []park.Task {
	places := p.placesOf(ctx, records)
	tasks := make([]park.Task, len(records))
	for i := range records {
		tasks[i] = records[i].View(p.Kind, places[i].position)
		tasks[i].Waiting = places[i].waiting
	}
	return tasks
}

// place is what only the lot knows of a parked task.
type place struct {
	position int64
	waiting  *park.Waiting
}

// placesOf returns the places of those records that are parked. A pool that does not answer in time still shows its tasks,
// without them.
func (p *pool) placesOf(ctx context.Context, records []park.Record) []place {
	places := make([]place, len(records))
	if !slices.ContainsFunc(records, func(r park.Record) bool { return r.Status == park.Queued }) {
		return places
	}
	err := p.askBy(ctx, func() {
		for i := range records {
			if records[i].Status == park.Queued {
				_, places[i].position, _ = p.lot.State(records[i].TaskID)
				places[i].waiting = p.waiting(&records[i])
			}
		}
	}, p.eng.due())
	if err != nil {
		return make([]place, len(records))
	}
	return places
}

// waiting says why a parked task cannot start; nil where there is nothing to say.
func (p *pool) waiting(r *park.Record) *park.Waiting {
	has := p.lot.Row().MaxUnits
	if r.Units <= has {
		return nil
	}
	return &park.Waiting{Code: park.WaitsLarger, Message: fmt.Sprintf(
		"the task costs %d units, but pool %s has %d: it starts once the pool has %[1]d again", r.Units, p.ID, has)}
}

// errStorageBecause logs why a store failed and returns what the caller may know.
func errStorageBecause(ctx context.Context, p *pool, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if code := park.CodeOf(err); code != park.Internal {
		return err
	}
	p.eng.log.Error("store not read", "pool", p.ID, "error", err)
	return errStorage(p.ID, err)
}

// Tasks implements [park.TaskService].
func (e *Engine) Tasks(ctx context.Context, pool string, q park.TaskQuery) (park.TaskPage, error) {
	p, err := e.pool(pool)
	if err != nil {
		return park.TaskPage{}, err
	}
	if q.Limit, err = checkLimit(q.Limit, maxLimit); err != nil {
		return park.TaskPage{}, err
	}
	records, next, err := p.list(ctx, q)
	if err != nil {
		return park.TaskPage{}, errStorageBecause(ctx, p, err)
	}
	return park.TaskPage{Tasks: p.tasksOf(ctx, records), Next: next}, nil
}

// list reads a page of tasks, which ends early where its results are large.
func (p *pool) list(ctx context.Context, q park.TaskQuery) (records []park.Record, next string, err error) {
	part := portionsOf(p.maxResult())
	for most := q.Limit; ; {
		q.Limit = min(part.next, most-len(records))
		found, cursor, err := p.queue.List(ctx, p.ID, q)
		if err != nil {
			return nil, "", err
		}
		size := 0
		for i := range found {
			size += weigh(&found[i].Spec) + len(found[i].Result)
		}
		records, q.Cursor = append(records, found...), cursor
		if part.read(len(found), size); cursor == "" || len(records) >= most || part.full() {
			return records, cursor, nil
		}
	}
}

// checkLimit returns how many entries a page holds for whom n are asked. Who asks for more than one can hold
// reads on after it, as ever.
func checkLimit(n, most int) (int, error) {
	if n < 0 {
		return 0, park.Errorf(park.InvalidRequest, "limit must be at least 1, not %d", n)
	}
	if n == 0 {
		return defaultLimit, nil
	}
	return min(n, most), nil
}

// Cancel implements [park.TaskService].
func (e *Engine) Cancel(ctx context.Context, pool, id string) (park.Task, error) {
	p, err := e.pool(pool)
	if err != nil {
		return park.Task{}, err
	}
	res, err := p.doFresh(ctx, lot.Cancel{TaskID: id})
	if err != nil {
		return park.Task{}, about(id, err)
	}
	if res[0].Stale {
		t, err := p.task(ctx, id)
		if err != nil {
			return park.Task{}, err
		}
		return park.Task{}, park.Errorf(park.TaskFinished, "task %s is %s already", id, t.Status)
	}
	return p.ended(ctx, id)
}

// ended returns a task that was cancelled once it has ended. A store that cannot be read has taken the cancellation
// nonetheless, so it is asked again, and who has waited for too long is not told that nothing was accepted.
func (p *pool) ended(ctx context.Context, id string) (park.Task, error) {
	for due := p.eng.due(); ; {
		rung, leave := p.eng.hub.join(taskTopic(p.ID, id))
		t, err := p.task(ctx, id)
		wait := p.eng.patience(time.Hour)
		switch {
		case err == nil && (t.Status.Ended() || mutant.CancelReturns):
			leave()
			return t, nil
		case err == nil:
			due = p.eng.due()
		case park.CodeOf(err) == park.StorageUnavailable && p.eng.left(due) > 0:
			rung, wait = nil, troubleRest
			err = nil
		}
		if err == nil {
			err = sleep(ctx, p, rung, wait)
		}
		leave()
		if park.CodeOf(err) == park.StorageUnavailable {
			err = about(id, errUnknown("pool "+p.ID))
		}
		if err != nil {
			return t, err
		}
	}
}

// Log implements [park.TaskService].
func (e *Engine) Log(ctx context.Context, pool, id string, q park.LogQuery) (*park.Log, error) {
	p, err := e.pool(pool)
	if err == nil {
		err = q.Check()
	}
	if err != nil {
		return nil, err
	}
	ended, leave := e.hub.join(taskTopic(p.ID, id))
	t, err := p.begun(ctx, id, q)
	latest := q.Attempt == 0 || q.Attempt == t.Attempt
	switch {
	case err != nil:
	case p.Logs == nil:
		err = park.Errorf(park.LogNotFound, "pool %s (executor %s) keeps no logs: see the task's result", p.ID, p.Pool.PoolSpec.Executor)
	case t.Attempt == 0:
		err = park.Errorf(park.LogNotFound, "task %s is %s and has not run yet", id, t.Status)
	case q.Attempt > t.Attempt:
		err = park.Errorf(park.LogNotFound, "task %s has had %d runs, and not %d", id, t.Attempt, q.Attempt)
	}
	if err != nil {
		leave()
		return nil, err
	}
	elsewhere := latest && p.node != nil && t.Node != "" && t.Node != p.nodeName()
	attempt := q.Attempt
	if attempt == 0 {
		attempt = t.Attempt
	}
	q.Follow = q.Follow && latest && !elsewhere && !t.Status.Ended()
	// What ran here before this daemon was started may have its log here all the same.
	log, err := p.Logs.Log(ctx, p.ID, id, attempt, q, ended)
	if err != nil {
		leave()
		if elsewhere && park.CodeOf(err) == park.LogNotFound {
			err = park.Errorf(park.LogNotFound, "run %d of task %s is on node %s, and its log is there: ask that node", t.Attempt, id, t.Node)
		}
		return nil, err
	}
	log.ReadCloser = &leaving{ReadCloser: log.ReadCloser, leave: leave}
	return log, nil
}

// begun returns a task; with Follow it waits until the run that is asked for has started, or the task has ended without it.
func (p *pool) begun(ctx context.Context, id string, q park.LogQuery) (park.Task, error) {
	for {
		started, leave := p.eng.hub.join(startTopic(p.ID, id))
		t, err := p.task(ctx, id)
		if err == nil && q.Follow && t.Attempt < max(q.Attempt, 1) && !t.Status.Ended() {
			err = sleep(ctx, p, started, time.Hour)
			leave()
			if err != nil {
				return t, err
			}
			continue
		}
		leave()
		return t, err
	}
}

// leaving is a log that no longer waits for its task once it is closed.
type leaving struct {
	io.ReadCloser
	leave func()
}

func (l *leaving) Close() error {
	l.leave()
	return l.ReadCloser.Close()
}
