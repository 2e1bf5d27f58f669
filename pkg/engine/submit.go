package engine

// What happens to submissions before and after the loop.

import (
	"context"
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/keptjson"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
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
		op, err := p.submitOp(tasks[i])
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
		out[index[k]] = p.submitResult(ops[k].(lot.Submit).Spec, &results[k])
	}
	return out, nil
}

// submit is Submit for a single task.
func (p *pool) submit(ctx context.Context, s park.Submission) (r park.SubmitResult, err error) {
	op, rejected := p.submitOp(s)
	if rejected != nil {
		return park.SubmitResult{Err: rejected}, nil //nolint:nilerr // a refusal is the task's result, not the call's error
	}
	results, err := p.do(ctx, op)
	switch {
	case err == nil:
		return p.submitResult(op.Spec, &results[0]), nil
	case park.CodeOf(err) == park.OutcomeUnknown:
		return p.submitResult(op.Spec, &lot.Result{Err: asError(err)}), nil
	default:
		return park.SubmitResult{}, err
	}
}

func (p *pool) submitResult(s *ledger.Spec, r *lot.Result) park.SubmitResult {
	if r.Err != nil {
		return park.SubmitResult{Err: asError(withTaskID(s.TaskID, r.Err))}
	}
	return park.SubmitResult{Accepted: park.Accepted{
		TaskID: s.TaskID, PoolID: p.ID, Status: r.Status, Position: r.Position, SubmittedAt: r.SubmittedAt,
	}}
}

// doMany is do for more operations than may fit into one step: they are split into several steps, in order. An error of
// one step becomes the result of its operations. If no operation was accepted, the call fails.
func (p *pool) doMany(ctx context.Context, ops []lot.Op) ([]lot.Result, error) {
	deadline := p.eng.newDeadline()
	var sent []*operations
	var sendErr error
	for remaining := ops; len(remaining) > 0 && sendErr == nil; {
		n := p.opsForStep(remaining)
		m := &operations{}
		m.ops, m.reply = remaining[:n:n], make(chan reply, 1)
		if sendErr = p.sendBy(ctx, m, deadline); sendErr == nil {
			sent, remaining = append(sent, m), remaining[n:]
		}
	}
	results := make([]lot.Result, 0, len(ops))
	firstErr, noneTaken := sendErr, true // noneTaken: it is known that no operation was accepted
	for _, m := range sent {
		res, err := p.waitBy(ctx, &m.request, deadline)
		if err != nil && errors.Is(err, ctx.Err()) {
			return nil, err
		}
		if err != nil {
			res, firstErr = failedResults(len(m.ops), err), err
		}
		noneTaken = noneTaken && err != nil && park.CodeOf(err) != park.OutcomeUnknown
		results = append(results, res...)
	}
	if firstErr != nil && noneTaken {
		return nil, firstErr
	}
	return append(results, failedResults(len(ops)-len(results), sendErr)...), nil
}

// opsForStep returns how many of the operations, from the first on, fit into one step.
func (p *pool) opsForStep(ops []lot.Op) int {
	size := 0
	for i := range ops {
		if size += p.bytesOf(ops[i : i+1]); i == maxOps || i > 0 && size > maxStepBytes {
			return i
		}
	}
	return len(ops)
}

// submitOp turns a submission into an operation, or returns what is wrong with the submission.
func (p *pool) submitOp(s park.Submission) (op lot.Submit, rejected *park.Error) {
	if err := s.Normalize(); err != nil {
		return op, asError(err)
	}
	if err := p.check(&s); err != nil {
		return op, err
	}
	// If the id is made here, the digest includes it, because a client that sends the task again sends that id.
	if op.NewID = s.TaskID == ""; op.NewID {
		s.TaskID = p.eng.env.ID()
	}
	if s.OwnIDs && !op.NewID {
		op.FallbackID = park.TenantTaskID(s.TaskID, s.Tenant)
	}
	spec := &ledger.Spec{
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

// check returns why the pool does not accept a submission, or nil.
func (p *pool) check(s *park.Submission) *park.Error {
	for i, arg := range s.Command {
		if !storable(arg) {
			return park.Errorf(park.InvalidRequest, "command[%d] must be UTF-8 without NUL characters", i)
		}
	}
	if !storable(s.WorkDir) {
		return park.Errorf(park.InvalidRequest, "workDir must be UTF-8 without NUL characters")
	}
	switch k := s.ResourceCost.Kind; {
	case k != "" && p.Kind != "" && k != p.Kind:
		return park.Errorf(park.InvalidRequest, "resourceCost.kind must be %s, the kind of pool %s, not %s", p.Kind, p.ID, k)
	case len(s.Command) > 0 && !p.TakesCommands:
		return park.Errorf(park.InvalidRequest, "command is not accepted by pool %s (executor %s): send a payload instead", p.ID, p.Pool.PoolSpec.Executor)
	case len(s.Command) == 0 && p.NeedsCommand:
		return park.Errorf(park.InvalidRequest, "command is required: pool %s runs commands and has none of its own", p.ID)
	case len(s.Payload) == 0:
		return nil
	}
	if err := keptjson.Check(s.Payload); err != nil {
		return park.Errorf(park.InvalidRequest, "payload %v", err)
	}
	return nil
}
