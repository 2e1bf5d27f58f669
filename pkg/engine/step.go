package engine

import (
	"errors"
	"slices"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/relay"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// lookUpSteps is the number of steps that look up ids after an id was taken: a client that sends one task again may
// send more.
const lookUpSteps = 64

// buildOps returns the operations of a batch, in order. Only the store knows whether the id of a submission is that of
// an ended task, and a look-up would cost every step a read for a rare case. So the step is decided again with a
// look-up only if the store refuses it for such an id, or if the lot refuses a task that may have been accepted before.
// A submission that may be kept under either of two ids is always looked up: the store does not check the second id.
func (l *loop) buildOps(batch []message) ([]lot.Op, error) {
	ops := make([]lot.Op, 0, len(batch))
	for _, m := range batch {
		r := m.base()
		if derive := deriveFunc(m); derive != nil {
			r.ops = derive(l)
		}
		ops = append(ops, r.ops...)
	}
	l.lookedUp = l.lookUpsLeft > 0 || slices.ContainsFunc(ops, func(op lot.Op) bool {
		s, ok := op.(lot.Submit)
		return ok && s.FallbackID != ""
	})
	l.lookUpsLeft = max(l.lookUpsLeft-1, 0)
	if !l.lookedUp {
		return ops, nil
	}
	retry, err := l.lookUpIDs(ops, false)
	if err == nil && retry {
		_, err = l.lookUpIDs(ops, true)
	}
	return ops, err
}

// lookUpIDs marks the submissions among ops whose ids the store knows, except those of tasks in the lot. If the lot
// lacked a task that another node has just accepted, it catches up and returns retry: the lot has changed. If last is
// set, it does not.
func (l *loop) lookUpIDs(ops []lot.Op, last bool) (retry bool, err error) {
	var ids []string
	for _, op := range ops {
		s, ok := op.(lot.Submit)
		if ok && !l.lot.IsLive(s.Spec.TaskID) {
			ids = append(ids, s.Spec.TaskID)
		}
		if ok && s.FallbackID != "" && !l.lot.IsLive(s.FallbackID) {
			ids = append(ids, s.FallbackID)
		}
	}
	if len(ids) == 0 {
		return false, nil
	}
	byID, lagging := make(map[string]*ledger.Record), false
	err = l.readRecords(ids, func(r *ledger.Record) {
		r.Payload, r.Command, r.Result = nil, nil, nil
		byID[r.TaskID] = r
		lagging = lagging || !r.Status.Ended()
	})
	if err != nil || len(byID) == 0 {
		return false, err
	}
	if row := l.lot.Row(); lagging && !last && l.node != nil {
		if err := l.catchUp(); err != nil || l.lot.Row() != row {
			return true, err
		}
	}
	for i, op := range ops {
		if s, ok := op.(lot.Submit); ok {
			ops[i] = asDuplicate(s, byID)
		}
	}
	return false, nil
}

// asDuplicate returns the operation for a submission, given the store's tasks with its ids.
func asDuplicate(s lot.Submit, byID map[string]*ledger.Record) lot.Op {
	r := byID[s.Spec.TaskID]
	if r != nil && (s.FallbackID == "" || r.Tenant == s.Spec.Tenant) {
		return lot.Duplicate{Spec: s.Spec, Ended: r}
	}
	if s.FallbackID != "" {
		s.IDTaken, s.Ended = r != nil, byID[s.FallbackID]
	}
	return s
}

// maybeDuplicates reports whether a refused submission may be an ended task that was sent again. Once its step is
// decided again, that includes one whose id was made here: its client may have been told the id, and have sent the task
// to another node since.
func (l *loop) maybeDuplicates(ops []lot.Op, results []lot.Result) bool {
	for i, op := range ops {
		s, ok := op.(lot.Submit)
		if err := results[i].Err; ok && (l.redecided || !s.NewID) && err != nil && err.Code != park.TaskExists {
			return true
		}
	}
	return false
}

// commitStep makes a step durable.
func (l *loop) commitStep(s *lot.Step, ops int) error {
	st := &store.Step{PoolID: l.ID, ID: l.eng.env.ID(), Row: s.Row, Inserts: s.Inserts, Updates: s.Updates}
	if l.node != nil {
		if l.node.Unregistered(l.lotNode) {
			return cluster.ErrNodeLost
		}
		st.Node = l.lotNode // not a newer name: that node may be alive, and would not run what the lot starts
	}
	st.Row.LastStep = st.ID
	l.pack(st, s)
	start := l.eng.env.Mono()
	err := l.queue.Commit(l.ctx, st)
	if errors.Is(err, store.ErrInDoubt) {
		err = l.resolveInDoubt(st, err)
	}
	if err != nil {
		return err
	}
	l.unsecured = false // the store has this step and all before it
	took := l.eng.env.Mono() - start
	// A step that was in doubt for a minute says nothing about the next one, for which other nodes queue.
	l.commitTime += (min(took, maxTurnWait) - l.commitTime) / 8
	l.contenders = st.NodesWaiting
	l.eng.meter.StepCommitted(l.ID, ops, took)
	l.eng.health.Works(l.QueueBackend)
	return nil
}

// pack puts the step's messages and events into the step itself, or into outbox entries for the relay.
func (l *loop) pack(st *store.Step, s *lot.Step) {
	entry := func(dest string, m *park.Message, e *park.Event) {
		st.Outbox = append(st.Outbox, store.OutboxEntry{Dest: dest, Since: s.Row.LastAt, Message: m, Event: e})
	}
	if l.localMail {
		st.Messages = s.Messages
	}
	if l.localAudit {
		st.Events = s.Events
	}
	for i := range s.Messages {
		if !l.localMail {
			entry(relay.Mailbox(l.MailboxBackend), &s.Messages[i], nil)
		}
		if l.Notifier != nil {
			entry(relay.Notifier(l.ID), &s.Messages[i], nil)
		}
	}
	for i := range s.Events {
		if !l.localAudit {
			entry(relay.Audit(l.eng.cfg.Audit), nil, &s.Events[i])
		}
	}
}

// apply starts, stops and forgets runs of this node as a committed step says.
func (l *loop) apply(s *lot.Step) {
	for i, spec := range s.Specs {
		if s.Inserts[i].Status == park.Queued {
			l.specs.put(spec)
		}
	}
	for i := range s.Updates {
		if u := &s.Updates[i]; u.State.Status != park.Running {
			l.endRun(u)
		}
		l.recordEnd(&s.Updates[i].State)
	}
	for i := range s.Inserts {
		l.recordEnd(&s.Inserts[i].State)
	}
	if started := l.startsHere(s); len(started) > 0 {
		l.launch(started)
	}
	// After the launch: a step may cancel a task that it starts.
	for i := range s.Updates {
		if u := &s.Updates[i]; u.State.Status == park.Running && u.State.Cancelled {
			l.stopRun(u.TaskID, park.ErrCancelled)
		}
	}
	l.publish()
}

// startsHere returns the runs that a step has started and not ended.
func (l *loop) startsHere(s *lot.Step) []runStart {
	started := make([]runStart, 0, len(s.Started))
	for _, t := range s.Started {
		spec := t.Spec
		if spec == nil {
			spec = l.specs.take(t.TaskID)
		}
		if spec != nil && t.Attempt == 1 {
			l.eng.meter.QueueWait(l.ID, s.Row.LastAt.Sub(spec.SubmittedAt.Time))
		}
		if now, _, _ := l.lot.State(t.TaskID); now.Status == park.Running && now.Attempt == t.Attempt {
			started = append(started, runStart{Started: t, submitted: l.lot.SubmittedAt(t.TaskID), spec: spec})
		}
	}
	return started
}

// announce wakes callers that wait for changes of a step.
func (l *loop) announce(s *lot.Step) {
	if len(s.Events) == 0 {
		return
	}
	l.countEvents(s)
	if l.node != nil {
		l.node.Announce()
	}
	if !l.eng.hub.Joined() {
		return // whoever joins from now on reads the committed state
	}
	topics := make([]topic.Topic, 0, 2*(len(s.Inserts)+len(s.Updates))+len(s.Messages)+2)
	note := func(id string, status park.Status) {
		if status.Ended() {
			topics = append(topics, topic.Ended(l.ID, id), topic.Started(l.ID, id))
		} else if status == park.Running {
			topics = append(topics, topic.Started(l.ID, id))
		}
	}
	for i := range s.Inserts {
		note(s.Inserts[i].TaskID, s.Inserts[i].Status)
	}
	for i := range s.Updates {
		note(s.Updates[i].TaskID, s.Updates[i].State.Status)
	}
	if l.localMail {
		for i := range s.Messages {
			topics = append(topics, topic.Mailbox(s.Messages[i].Tenant, s.Messages[i].Key))
		}
	}
	if l.localAudit {
		topics = append(topics, topic.Audit())
	}
	l.eng.hub.Wake(append(topics, topic.Outbox(l.QueueBackend))...)
}

// countEvents reports a step's events to the meter.
func (l *loop) countEvents(s *lot.Step) {
	for _, a := range park.Actions() {
		n := 0
		for i := range s.Events {
			if s.Events[i].Action == a {
				n++
			}
		}
		if n > 0 {
			l.eng.meter.Events(l.ID, a, n)
		}
	}
}

// recordEnd reports a task to the meter if the step has ended it.
func (l *loop) recordEnd(s *ledger.State) {
	if !s.Status.Ended() {
		return
	}
	l.eng.meter.TaskEnded(l.ID, s.Status, s.Reason)
	if !s.StartedAt.IsZero() {
		l.eng.meter.RunTime(l.ID, s.Status, s.EndedAt.Sub(s.StartedAt.Time))
	}
}
