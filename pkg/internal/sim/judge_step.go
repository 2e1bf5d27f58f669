package sim

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// taskLife is a task, as its pool's log describes it so far. An id may be used by several tasks, one after another.
type taskLife struct {
	*jobRecord
	id, label          string // label is unique among the tasks with this id
	spec               ledger.Spec
	state              ledger.State // by the log
	states             []stateAt    // of its row
	began              time.Duration
	started            time.Duration // the current run did not get its units before
	low, high          int64         // range of its first position
	end                park.Action
	endedAt, removedAt time.Duration // when it ended, and when it was removed; negative before
	hasMessage         bool
	touched            bool // by the current step
	hasRow             bool
	statuses           []statusAt
	renewed            renewal   // of its lease
	notBefore          park.Time // it must not start before
}

// renewal is the last renewal of a lease: when it was requested and when it was answered.
type renewal struct{ requested, answered time.Duration }

// stateAt is a task's row from a time on.
type stateAt struct {
	at    time.Duration
	state ledger.State
}

// row returns the pool's current row, and since when.
func (l *poolRecord) row() rowAt {
	if n := len(l.rows); n > 0 {
		return l.rows[n-1]
	}
	return rowAt{-1, l.first()}
}

// first returns the pool's row before its first step.
func (l *poolRecord) first() ledger.Pool {
	return ledger.Pool{MaxUnits: l.began.MaxUnits, MaxQueueDepth: l.began.MaxQueueDepth, State: l.began.State}
}

// checkInitialLimits judges a pool's initial limits, which must be from the configuration of a node.
func (j *judge) checkInitialLimits(l *poolRecord, w *step) {
	l.began = replay.Initial(replay.Limits{MaxUnits: w.Row.MaxUnits, MaxQueueDepth: w.Row.MaxQueueDepth, State: w.Row.State}, w.Events)
	l.log = replay.New(l.began)
	so := func(p park.PoolPatch) bool {
		return p.MaxUnits != nil && p.MaxQueueDepth != nil && *p.MaxUnits == l.began.MaxUnits && *p.MaxQueueDepth == l.began.MaxQueueDepth
	}
	if !slices.ContainsFunc(j.patches[l.spec.ID], so) || l.began.State != park.Active {
		j.fail("limits", "pool %s begins with %d units and a depth of %d, %s, as no file has it", l.spec.ID, l.began.MaxUnits, l.began.MaxQueueDepth, l.began.State)
	}
}

// step judges a step as a whole.
func (j *judge) step(w step) {
	l := j.records[w.PoolID]
	l.before, l.sent = l.row(), w.sent
	if w.Row.Rev == 1 {
		j.checkInitialLimits(l, &w)
	}
	states := make(map[string]*ledger.State, len(w.Inserts)+len(w.Updates))
	for i := range w.Inserts {
		r := &w.Inserts[i]
		j.addTask(l, r)
		states[r.TaskID] = &r.State
	}
	for i := range w.Updates {
		states[w.Updates[i].TaskID] = &w.Updates[i].State
	}
	if len(w.Events) == 0 {
		j.fail("one step", "rev %d of pool %s has no events", w.Row.Rev, w.PoolID)
	}
	touched := make(map[string]*taskLife)
	for i := range w.Events {
		e := &w.Events[i]
		if t := j.event(l, &w, e, states); t != nil {
			touched[t.id] = t
		}
	}
	j.checkRows(&w, touched)
	j.checkMessages(l, touched)
	j.checkPoolRow(l, &w)
	l.rows = append(l.rows, rowAt{j.now, w.Row})
}

// addTask adds a new task, which must be as its client submitted it.
func (j *judge) addTask(l *poolRecord, r *ledger.Record) {
	var w work
	err := json.Unmarshal(r.Payload, &w)
	a := j.jobs[w.Job]
	if err != nil || a == nil {
		j.fail("payload", "task %s is of no job: %s", r.TaskID, r.Payload)
		return
	}
	if a.sub.TaskID == "" {
		a.sub.TaskID = r.TaskID
	}
	own := park.TenantTaskID(a.sub.TaskID, tenantOf(&a.sub))
	if r.TaskID != a.sub.TaskID && (!a.sub.OwnIDs || r.TaskID != own) || r.PoolID != a.pool || l.spec.ID != a.pool {
		j.fail("one task", "the task %s of job %d is in pool %s as %s", a.sub.TaskID, w.Job, r.PoolID, r.TaskID)
		return
	}
	if l.tasks[r.TaskID] != nil {
		j.fail("one task", "the task %s is put in a second time", r.TaskID)
		return
	}
	a.lives++
	t := &taskLife{
		jobRecord: a, id: r.TaskID, label: r.TaskID + "/" + strconv.Itoa(len(l.past[r.TaskID])), spec: r.Spec, began: j.now, endedAt: -1, removedAt: -1,
	}
	l.tasks[t.id] = t
	l.past[t.id] = append(l.past[t.id], t)
	j.checkSpec(l, t)
}

func tenantOf(s *park.Submission) string {
	switch {
	case s.MailboxKey.Tenant != "":
		return s.MailboxKey.Tenant
	case s.Tenant != "":
		return s.Tenant
	}
	return park.DefaultTenant
}

// checkSpec compares a task's row with its submission.
func (j *judge) checkSpec(l *poolRecord, t *taskLife) {
	s, r := &t.sub, &t.spec
	timeout := time.Duration(s.TimeoutSecs) * time.Second
	if timeout == 0 {
		timeout = l.spec.DefaultTimeout
	}
	retry := s.Retry
	if retry == (park.Retry{}) {
		retry = l.spec.Retry
	}
	same := r.Tenant == tenantOf(s) && r.MailboxKey == s.MailboxKey.Key && r.Priority == s.Priority && r.Units == max(1, int64(s.ResourceCost.Units)) &&
		r.Deadline.Equal(s.Deadline.Time) && r.Timeout == timeout && r.Retry == retry && string(r.Payload) == string(s.Payload) &&
		slices.Equal(r.Command, s.Command) && r.WorkDir == s.WorkDir && r.Digest != 0
	if !same {
		j.fail("one task", "task %s was submitted as %+v, and is kept as %+v", t.id, *s, *r)
	}
	if !j.clockSteps && r.SubmittedAt.Before(epoch.Add(t.since-j.drift())) {
		j.fail("time", "task %s is said to have been submitted at %s, before anybody did it", t.id, r.SubmittedAt)
	}
}

// event judges an event, and returns its task.
func (j *judge) event(l *poolRecord, w *step, e *park.Event, states map[string]*ledger.State) *taskLife {
	t := l.tasks[e.TaskID]
	limits := l.log.State()
	j.events, j.eventsAt = append(j.events, *e), append(j.eventsAt, j.now)
	j.events[len(j.events)-1].EventID = park.EventID(e.PoolID, e.Rev, e.Ord)
	if e.PoolID != w.PoolID || !e.At.Equal(w.Row.LastAt.Time) || e.Rev != w.Row.Rev {
		j.fail("event", "%s of task %s is of pool %s, rev %d, at %s, in the step to rev %d of pool %s at %s",
			e.Action, e.TaskID, e.PoolID, e.Rev, e.At, w.Row.Rev, w.PoolID, w.Row.LastAt)
	}
	if !j.clockSteps && e.At.After(w.wall.Time) && e.At.After(l.before.row.LastAt.Time) {
		j.fail("time", "%s of task %s is dated %s, and was stored at %s", e.Action, e.TaskID, e.At, w.wall)
	}
	if e.Action == park.ActUpdate {
		return j.checkUpdate(l, e)
	}
	if e.Action == park.ActReject {
		j.checkReject(l, e)
	}
	if err := l.log.Apply(l.labelled(e, t)); err != nil {
		j.fail("replay", "%v", err)
	}
	if e.Action == park.ActReject {
		return nil
	}
	if t == nil {
		j.fail("one task", "%s of task %s, which nobody has put in", e.Action, e.TaskID)
		return nil
	}
	j.aboutEvent(w, e, t)
	state := states[t.id]
	if state == nil {
		j.fail("rows", "rev %d tells of %s of task %s, and has no row of it", e.Rev, e.Action, t.id)
		return nil
	}
	at := queueEvent{Event: e, row: state, counted: state.Failures > t.state.Failures, units: limits.Limits.MaxUnits, certain: j.certainlyPast(e.At)}
	t.touched = true
	j.follow(l, e, t, state)
	if e.Action == park.ActRequeue && at.counted {
		at.notBefore = t.state.NotBefore
	}
	if why := l.queue.apply(at, t); why != "" {
		j.fail("order", "rev %d: %s", e.Rev, why)
	}
	if e.Action == park.ActEnqueue {
		t.low, t.high = l.queue.position(t, at.certain)
	}
	return t
}

// certainlyPast returns a time that is past on every node's clock; zero if that is unknown.
func (j *judge) certainlyPast(at park.Time) park.Time {
	if j.clockSteps {
		return park.Time{}
	}
	return park.At(at.Add(-j.drift()))
}

// labelled returns an event with the task's label in place of its id.
func (l *poolRecord) labelled(e *park.Event, t *taskLife) park.Event {
	told := *e
	told.EventID = ""
	if t != nil {
		told.TaskID = t.label
	}
	if d := refusedFor(e); e.Action == park.ActReject && d.Code == park.TaskExists {
		for _, lives := range [][]*taskLife{l.past[d.TaskID], l.past[park.TenantTaskID(d.TaskID, e.Tenant)]} {
			if len(lives) > 0 {
				told.Detail = json.RawMessage(`{"code":"task_exists","taskId":` + strconv.Quote(lives[0].label) + `}`)
			}
		}
	}
	return told
}

// aboutEvent checks the fields that each event of a task has.
func (j *judge) aboutEvent(w *step, e *park.Event, t *taskLife) {
	if e.Tenant != t.spec.Tenant || e.Units != t.spec.Units {
		j.fail("event", "%s of task %s is of %d units of %s, which was submitted with %d by %s", e.Action, t.id, e.Units, e.Tenant, t.spec.Units, t.spec.Tenant)
	}
	if (e.Node != "") != (e.Attempt > 0) || e.Node != "" && w.Node != "" && e.Node != w.Node {
		j.fail("event", "%s of attempt %d at task %s is told by node %q, and stored by %q", e.Action, e.Attempt, t.id, e.Node, w.Node)
	}
}

// follow applies an event to its task.
func (j *judge) follow(l *poolRecord, e *park.Event, t *taskLife, row *ledger.State) {
	s := &t.state
	switch e.Action {
	case park.ActSubmit:
		j.checkAccepted(l, e, t)
	case park.ActEnqueue:
		s.Status = park.Queued
	case park.ActStart:
		j.checkStarted(l, e, t, row)
		// The clock was read after this node had learned of the step before.
		t.started = l.before.at
		if !l.spec.Runtime.Leased() {
			t.started = j.now
		}
	case park.ActRequeue:
		j.checkRequeue(l, e, t, row)
	case park.ActComplete, park.ActFail, park.ActExpire, park.ActCancel:
		s.EndedAt = e.At
		s.Reason = reasonOf(e)
		s.Message, s.Result = row.Message, row.Result // judged with the end
		t.end, t.endedAt = e.Action, j.now
		s.Status = replay.StatusOf(e.Action)
		j.checkEnding(l, e, t)
	default:
		j.fail("event", "%s is no event of task %s", e.Action, t.id)
	}
	if e.Action != park.ActSubmit {
		t.statuses = append(t.statuses, statusAt{j.now, s.Status})
	}
	l.mostParked = max(l.mostParked, l.log.State().Queued)
}

// checkAccepted judges an accepted submission.
func (j *judge) checkAccepted(l *poolRecord, e *park.Event, t *taskLife) {
	limits := l.log.State().Limits
	switch {
	case !e.At.Equal(t.spec.SubmittedAt.Time):
		j.fail("event", "task %s was submitted at %s, and its event says %s", t.id, t.spec.SubmittedAt, e.At)
	case !t.spec.Deadline.IsZero() && !t.spec.Deadline.After(e.At.Time):
		j.fail("deadline", "task %s was accepted at %s, its deadline was %s", t.id, e.At, t.spec.Deadline)
	case t.spec.Units > limits.MaxUnits:
		j.fail("limits", "task %s of %d units was accepted by a pool that has %d", t.id, t.spec.Units, limits.MaxUnits)
	}
	d := detailOf(e)
	if d.Priority != t.spec.Priority || d.Mailbox != t.spec.MailboxKey || !d.Deadline.Equal(t.spec.Deadline.Time) || d.MaxAttempts != t.spec.Retry.MaxAttempts {
		j.fail("event", "the submission of task %s tells of %s, and is %+v", t.id, e.Detail, t.spec)
	}
}

// checkStarted judges a start.
func (j *judge) checkStarted(l *poolRecord, e *park.Event, t *taskLife, row *ledger.State) {
	s := &t.state
	if d := t.spec.Deadline; s.Attempt == 0 && !d.IsZero() && !e.At.Before(d.Time) {
		j.fail("deadline", "task %s started at %s, its deadline was %s", t.id, e.At, d)
	}
	if s.Attempt > 0 && !j.clockSteps && e.At.Before(t.notBefore.Add(-j.drift())) {
		j.fail("backoff", "task %s starts again at %s, and was to rest until %s", t.id, e.At, s.NotBefore)
	}
	if d := detailOf(e); (d.Worker != "") != l.spec.Runtime.Leased() || d.Early != "" && !j.clockSteps && !e.At.Before(s.NotBefore.Time) {
		j.fail("event", "the start of run %d of task %s tells of %s", s.Attempt+1, t.id, e.Detail)
	}
	s.Status, s.Attempt, s.Node, s.StartedAt = park.Running, s.Attempt+1, e.Node, e.At
	if (row.Lease != "") != l.spec.Runtime.Leased() && row.Status == park.Running {
		j.fail("rows", "run %d of task %s has the lease %q in a pool whose runtime is %s", s.Attempt, t.id, row.Lease, l.spec.Runtime)
	}
	s.Lease, s.LeaseTTL, t.renewed = row.Lease, row.LeaseTTL, renewal{}
}

// detailOf returns the detail of an event.
func detailOf(e *park.Event) (d struct {
	Priority      park.Priority
	Mailbox       string
	Deadline      park.Time
	MaxAttempts   int
	Worker, Early string
	Strike        int
	NotBefore     park.Time
	Reason        string
},
) {
	_ = json.Unmarshal(e.Detail, &d)
	return d
}

// checkUpdate judges a change of the pool, or a request to stop a running task. It returns the task.
func (j *judge) checkUpdate(l *poolRecord, e *park.Event) *taskLife {
	c := changesOf(e)
	told := *e
	told.EventID = ""
	var t *taskLife
	if c.Cancel != "" {
		if t = l.tasks[c.Cancel]; t == nil {
			j.fail("cancel", "rev %d asks task %s to stop, which is not there", e.Rev, c.Cancel)
			return nil
		}
		told.Detail = json.RawMessage(`{"cancel":` + strconv.Quote(t.label) + `}`)
	}
	if err := l.log.Apply(told); err != nil {
		j.fail("replay", "%v", err)
	}
	l.limits = append(l.limits, limitsAt{j.now, l.log.State().Limits})
	if t != nil {
		j.checkCancelWanted(l, t)
		if t.state.Cancelled || l.spec.Runtime.Leased() {
			j.fail("cancel", "task %s is asked to stop a second time, or runs elsewhere", t.id)
		}
		t.state.Cancelled, t.touched = true, true
		return t
	}
	if c.Resumed != nil || e.TaskID != "" || e.Units != 0 || e.Attempt != 0 {
		j.fail("event", "rev %d changes the pool by %s of task %q", e.Rev, e.Detail, e.TaskID)
	}
	ordered := func(fits func(park.PoolPatch) bool) bool { return slices.ContainsFunc(j.patches[l.spec.ID], fits) }
	if c.MaxUnits != nil && !ordered(func(p park.PoolPatch) bool { return p.MaxUnits != nil && *p.MaxUnits == c.MaxUnits.To }) {
		j.fail("limits", "nobody has asked that pool %s has %d units", l.spec.ID, c.MaxUnits.To)
	}
	if c.MaxQueueDepth != nil && !ordered(func(p park.PoolPatch) bool { return p.MaxQueueDepth != nil && *p.MaxQueueDepth == c.MaxQueueDepth.To }) {
		j.fail("limits", "nobody has asked that pool %s parks %d tasks", l.spec.ID, c.MaxQueueDepth.To)
	}
	if c.State != nil && !ordered(func(p park.PoolPatch) bool { return p.State != nil && *p.State == c.State.To }) {
		j.fail("limits", "nobody has asked that pool %s is %s", l.spec.ID, c.State.To)
	}
	return nil
}

type change[T any] struct{ From, To T }

// changes are the possible contents of an update.
type changes struct {
	Cancel        string
	MaxUnits      *change[int64]
	MaxQueueDepth *change[int]
	State         *change[park.PoolState]
	Resumed       json.RawMessage
}

func changesOf(e *park.Event) (c changes) {
	_ = json.Unmarshal(e.Detail, &c)
	return c
}
