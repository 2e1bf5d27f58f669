package sim

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func doctoredEvents() []doctored {
	return []doctored{
		{"another tenant's event", "event|replay", atEvent(park.ActComplete, func(c *cut) bool { c.event.Tenant = "another"; return true })},
		{"a submission of another tenant", "event", atEvent(park.ActSubmit, func(c *cut) bool { c.event.Tenant = "another"; return true })},
		{"a start of more units", "replay", atEvent(park.ActStart, func(c *cut) bool { c.event.Units++; return true })},
		{"an end of fewer units", "event|replay", atEvent(park.ActComplete, func(c *cut) bool { c.event.Units = 0; return true })},
		{"a start of the next attempt but one", "replay", atEvent(park.ActStart, func(c *cut) bool { c.event.Attempt++; return true })},
		{"an end of another attempt", "replay", atEvent(park.ActComplete, func(c *cut) bool { c.event.Attempt++; return true })},
		{"an event of another node", "event|rows", atEvent(park.ActStart, func(c *cut) bool { c.event.Node = "another"; return true })},
		{"an event of no node", "event", atEvent(park.ActComplete, func(c *cut) bool { c.event.Node = ""; return true })},
		{"an event of another time than its step", "event|replay", atEvent(park.ActComplete, func(c *cut) bool {
			c.event.At = park.At(c.event.At.Add(time.Millisecond))
			return true
		})},
		{"an event of another pool", "event", atEvent(park.ActComplete, func(c *cut) bool { c.event.PoolID = "another"; return true })},
		{"a step that is dated ahead", "time", find(func(r *record, at int, s *step) bool {
			if r.scene.clockSteps || len(s.Inserts) > 0 {
				return false
			}
			s.Row.LastAt = park.At(s.Row.LastAt.Add(time.Hour))
			for i := range s.Events {
				s.Events[i].At = s.Row.LastAt
			}
			r.pieces[at].what = *s
			return true
		})},
		{"a submission from before it was offered", "time", find(func(r *record, at int, s *step) bool {
			if r.scene.clockSteps || s.Row.Rev != 1 || len(s.Inserts) == 0 {
				return false
			}
			s.Row.LastAt = park.At(epoch.Add(-time.Hour))
			for i := range s.Events {
				s.Events[i].At = s.Row.LastAt
			}
			for i := range s.Inserts {
				s.Inserts[i].SubmittedAt = s.Row.LastAt
			}
			r.pieces[at].what = *s
			return true
		})},
		{"an end that the log does not tell of", "rows|one message|one step|accounting", atEvent(park.ActComplete, func(c *cut) bool {
			c.step.Events = append(c.step.Events[:c.n:c.n], c.step.Events[c.n+1:]...)
			c.pieces[c.at].what = *c.step
			return len(c.step.Events) == c.n // else there would be a gap
		})},
		{"an event that comes twice", "replay", atEvent(park.ActComplete, func(c *cut) bool {
			if c.n != len(c.step.Events)-1 {
				return false
			}
			again := *c.event
			again.Ord++
			c.step.Events = append(c.step.Events, again)
			c.pieces[c.at].what = *c.step
			return true
		})},
		{"a step that is left out", "replay|rows|one step|accounting|durable", atEvent(park.ActStart, func(c *cut) bool { return c.step.Row.Rev > 1 && c.drop(c.at) })},
		{"a step without events", "one step", find(func(r *record, at int, s *step) bool { s.Events = nil; r.pieces[at].what = *s; return true })},
		{"a submission that tells of another priority", "event", atEvent(park.ActSubmit, func(c *cut) bool {
			c.event.Detail = []byte(`{"priority":"critical"}`)
			return c.spec.Priority != park.Critical
		})},
		{"a submission that tells of another mailbox", "event", atEvent(park.ActSubmit, func(c *cut) bool {
			c.event.Detail = bytes.Replace(c.event.Detail, []byte(`"mailbox":"box`), []byte(`"mailbox":"another`), 1)
			return c.spec.MailboxKey != ""
		})},
		{"a start by no worker", "event", atEvent(park.ActStart, func(c *cut) bool {
			leased := bytes.Contains(c.event.Detail, []byte(`"worker"`))
			c.event.Detail = nil
			return leased
		})},
		{"a change of the limits that nobody has asked for", "limits", atEvent(park.ActUpdate, func(c *cut) bool {
			found := false
			for i := range c.pieces {
				if p, ok := c.pieces[i].what.(poolPatch); ok && changesOf(c.event).MaxUnits != nil {
					p.patch.MaxUnits, found = nil, true
					c.pieces[i].what = p
				}
			}
			return found
		})},
		{"a change of the state that nobody has asked for", "limits", atEvent(park.ActUpdate, func(c *cut) bool {
			found := false
			for i := range c.pieces {
				if p, ok := c.pieces[i].what.(poolPatch); ok && changesOf(c.event).State != nil {
					p.patch.State, found = nil, true
					c.pieces[i].what = p
				}
			}
			return found
		})},
		{"a change of the limits from what they were not", "replay", atEvent(park.ActUpdate, func(c *cut) bool {
			d := changesOf(c.event)
			if d.MaxQueueDepth == nil {
				return false
			}
			d.MaxQueueDepth.From++
			c.event.Detail, _ = json.Marshal(map[string]any{"maxQueueDepth": map[string]int{"from": d.MaxQueueDepth.From, "to": d.MaxQueueDepth.To}})
			return true
		})},
		{"a refusal for another reason", "refusal", atEvent(park.ActReject, func(c *cut) bool {
			d := string(c.event.Detail)
			c.event.Detail = []byte(`{"code":"capacity_zero"}`)
			return c.event.TaskID != "" && d != string(c.event.Detail)
		})},
		{"a refusal for an id that nobody has", "refusal", atEvent(park.ActReject, func(c *cut) bool {
			c.event.TaskID, c.event.Detail = "", []byte(`{"code":"task_exists","taskId":"nobody"}`)
			return true
		})},
		{"a refusal of other units", "event|refusal", atEvent(park.ActReject, func(c *cut) bool { c.event.Units++; return c.event.TaskID != "" })},
	}
}

func doctoredEnds() []doctored {
	queued := func(c *cut) bool { return c.row.Attempt == 0 }
	return []doctored{
		{"every completion is a failure", "reason", atEvent(park.ActComplete, func(c *cut) bool { return c.becomes(park.ActFail, park.ReasonExitNonzero) })},
		{"a failure is a completion", "result", atEvent(park.ActFail, func(c *cut) bool { return c.becomes(park.ActComplete, "") })},
		{"a failure for another reason", "reason", atEvent(park.ActFail, func(c *cut) bool { return c.becomes(park.ActFail, park.ReasonExecutorError) })},
		{"a failure without a reason", "reason", atEvent(park.ActFail, func(c *cut) bool { return c.becomes(park.ActFail, "") })},
		{"a failure for a timeout that there is not", "reason", atEvent(park.ActFail, func(c *cut) bool {
			return c.row.Reason == park.ReasonExitNonzero && c.becomes(park.ActFail, park.ReasonTimeout)
		})},
		{"a failure for the loss of a node", "reason", atEvent(park.ActFail, func(c *cut) bool { return c.becomes(park.ActFail, park.ReasonNodeLost) })},
		{"a failure for a shortage", "reason", atEvent(park.ActFail, func(c *cut) bool { return c.becomes(park.ActFail, park.ReasonStartDeferred) })},
		{"a failure for a result that is too large", "reason", atEvent(park.ActComplete, func(c *cut) bool {
			c.row.Result = nil
			return c.becomes(park.ActFail, park.ReasonResultTooLarge)
		})},
		{"the loss of a worker that none lost", "reason", atEvent(park.ActComplete, func(c *cut) bool { return c.becomes(park.ActFail, park.ReasonWorkerLost) })},
		{"a completion is a cancellation", "cancel|replay", atEvent(park.ActComplete, func(c *cut) bool { return c.becomes(park.ActCancel, park.ReasonCancelled) })},
		{"an expiry is a cancellation", "cancel", atEvent(park.ActExpire, func(c *cut) bool { return c.becomes(park.ActCancel, park.ReasonCancelled) })},
		{"a cancellation is an expiry", "deadline|replay", atEvent(park.ActCancel, func(c *cut) bool { return queued(c) && c.becomes(park.ActExpire, park.ReasonDeadlinePassed) })},
		{"an expiry for another reason", "replay", atEvent(park.ActExpire, func(c *cut) bool { return c.becomes(park.ActExpire, park.ReasonTimeout) })},
		{"a cancellation for another reason", "replay", atEvent(park.ActCancel, func(c *cut) bool { return c.becomes(park.ActCancel, park.ReasonShutdown) })},
		{"a cancellation that nobody has asked for", "cancel", atEvent(park.ActCancel, func(c *cut) bool {
			id, found := c.event.TaskID, false
			for i := range c.pieces {
				if w, ok := c.pieces[i].what.(cancelRequest); ok && w.id == id {
					c.pieces[i].what = cancelRequest{w.pool, "another"}
					found = true
				}
			}
			return found
		})},
		{"the result of another run", "result", atEvent(park.ActComplete, func(c *cut) bool {
			c.row.Result = bytes.Replace(c.row.Result, []byte(`"attempt":`), []byte(`"attempt":1`), 1)
			return true
		})},
		{"no result", "result", atEvent(park.ActComplete, func(c *cut) bool { c.row.Result = nil; return true })},
		{"a dropped run's result that is not its own", "result", atEvent(park.ActCancel, func(c *cut) bool { c.row.Result = []byte(`1`); return c.row.Attempt > 0 })},
		{"a completion of a run that has not ended", "result", atEvent(park.ActComplete, func(c *cut) bool {
			var r result
			found := json.Unmarshal(c.row.Result, &r) != nil
			for i := range c.pieces {
				if o, ok := c.pieces[i].what.(outcome); ok && o.job == r.Job && o.attempt == r.Attempt {
					o.job = -1
					c.pieces[i].what, found = o, true
				}
			}
			return found
		})},
		{"a run is taken back for a node that lives", "reason", atEvent(park.ActRequeue, func(c *cut) bool {
			_ = c.becomesRequeue(park.ReasonNodeLost)
			return c.spared()
		})},
		{"a run is taken back for a stop that there is not", "reason", atEvent(park.ActRequeue, func(c *cut) bool {
			was := reasonOf(c.event)
			return was != park.ReasonShutdown && was != park.ReasonExitNonzero && c.becomesRequeue(park.ReasonShutdown) && c.unstopped()
		})},
		{"a start is put off for nothing", "reason", atEvent(park.ActRequeue, func(c *cut) bool {
			return reasonOf(c.event) == park.ReasonNodeLost && c.becomesRequeue(park.ReasonStartDeferred)
		})},
		{"a run that failed is taken back as lost", "reason", atEvent(park.ActRequeue, func(c *cut) bool {
			return c.event.PoolID == "gpu" && reasonOf(c.event) == park.ReasonExitNonzero && c.becomesRequeue(park.ReasonWorkerLost)
		})},
		{"a timeout before its time", "reason", atEvent(park.ActSubmit, func(c *cut) bool {
			if c.spec.Timeout == 0 || c.spec.PoolID != "gpu" || !c.ends(park.ReasonTimeout) || c.scene.clockSteps {
				return false
			}
			c.spec.Timeout += 1000 * time.Second
			c.ask(func(s *park.Submission) { s.TimeoutSecs += 1000 })
			return true
		})},
		{"a task that fails with attempts left", "attempts|replay", atEvent(park.ActRequeue, func(c *cut) bool {
			return reasonOf(c.event) == park.ReasonExitNonzero && c.becomes(park.ActFail, park.ReasonExitNonzero)
		})},
		{"one attempt more than there are", "attempts|replay", atEvent(park.ActFail, func(c *cut) bool {
			c.event.Action = park.ActRequeue
			return c.row.Reason == park.ReasonExitNonzero && c.row.Failures > 1
		})},
		{"a second run before its rest is over", "backoff|replay", atEvent(park.ActSubmit, func(c *cut) bool {
			if c.spec.Retry.Backoff == 0 || c.scene.clockSteps || !c.retried() {
				return false
			}
			c.spec.Retry.Backoff += park.Duration(time.Minute)
			c.ask(func(s *park.Submission) { s.Retry.Backoff += park.Duration(time.Minute) })
			return true
		})},
		{"a start after the deadline", "deadline", atEvent(park.ActSubmit, func(c *cut) bool {
			if c.row.Status != park.Running || !c.spec.Deadline.IsZero() {
				return false
			}
			c.spec.Deadline = c.event.At
			c.ask(func(s *park.Submission) { s.Deadline = c.event.At })
			return true
		})},
		{"one that overtakes", "order|replay", atEvent(park.ActSubmit, func(c *cut) bool {
			if c.row.Status != park.Queued || c.spec.Priority != park.Low {
				return false
			}
			c.spec.Priority = park.Critical
			c.ask(func(s *park.Submission) { s.Priority = park.Critical })
			c.event.Detail = bytes.Replace(c.event.Detail, []byte(`"low"`), []byte(`"critical"`), 1)
			c.unanswered()
			return c.overtaken()
		})},
	}
}

// becomesRequeue gives a requeue another reason, which does not count as an attempt.
func (c *cut) becomesRequeue(reason string) bool {
	c.event.Detail = []byte(`{"reason":"` + reason + `"}`)
	return true
}

// spared has the node of a run send heartbeats all the time, and removes its burial.
func (c *cut) spared() bool {
	if c.scene.singleNode || c.row == nil {
		return false
	}
	name := c.runner()
	kept := make([]evidence, 0, 2*len(c.pieces))
	for _, e := range c.pieces {
		switch w := e.what.(type) {
		case buried:
			if w.node == name {
				continue
			}
		case nodeLeft:
			if w.node == name {
				continue
			}
		}
		kept = append(kept, e, evidence{e.at, heartbeatAcked{name, e.at}})
	}
	c.pieces = kept
	return name != ""
}

// runner returns the node that started the event's run.
func (c *cut) runner() (name string) {
	for _, e := range c.pieces[:c.at] {
		if s, ok := e.what.(step); ok {
			for i := range s.Events {
				if v := &s.Events[i]; v.TaskID == c.event.TaskID && v.Action == park.ActStart {
					name = v.Node
				}
			}
		}
	}
	return name
}

// unstopped removes all stops of daemons, and reports whether the run's pool is not leased.
func (c *cut) unstopped() bool {
	for i, p := range slices.Backward(c.pieces) {
		if _, ok := p.what.(daemonStopped); ok {
			c.drop(i)
		}
	}
	return true
}

// unanswered removes all answers about tasks and their positions.
func (c *cut) unanswered() {
	c.pieces = slices.DeleteFunc(slices.Clone(c.pieces), func(e evidence) bool {
		a, ok := e.what.(answer)
		return ok && (a.op == "submit" || a.id == c.event.TaskID)
	})
}

// ends reports whether the task of a submission fails for a reason in its first run.
func (c *cut) ends(reason string) bool {
	return c.later(func(e *park.Event) bool { return e.Attempt == 1 && e.Action == park.ActFail && reasonOf(e) == reason })
}

// retried reports whether the task is run again after a failure.
func (c *cut) retried() bool {
	struck := false
	return c.later(func(e *park.Event) bool {
		struck = struck || e.Action == park.ActRequeue && detailOf(e).Strike > 0
		if struck && e.Action == park.ActRequeue {
			return false
		}
		return struck && e.Action == park.ActStart
	}) && c.rested()
}

// rested adds to the log how long a retried task should have waited.
func (c *cut) rested() bool {
	for k := c.at + 1; k < len(c.pieces); k++ {
		s, ok := c.pieces[k].what.(step)
		if !ok {
			continue
		}
		for i := range s.Events {
			e := &s.Events[i]
			if d := detailOf(e); e.TaskID == c.event.TaskID && e.Action == park.ActRequeue && d.Strike == 1 {
				until := park.At(d.NotBefore.Add(time.Minute))
				e.Detail, _ = json.Marshal(map[string]any{"reason": d.Reason, "strike": 1, "notBefore": until})
				for u := range s.Updates {
					if s.Updates[u].TaskID == e.TaskID {
						s.Updates[u].State.NotBefore = until
					}
				}
				return true
			}
		}
	}
	return false
}

// overtaken reports whether another task starts while the submitted one is parked.
func (c *cut) overtaken() bool {
	for _, e := range c.pieces {
		s, ok := e.what.(step)
		if !ok || s.PoolID != c.event.PoolID || s.Row.Rev <= c.event.Rev {
			continue
		}
		for i := range s.Events {
			switch e := &s.Events[i]; {
			case e.TaskID == c.event.TaskID || e.Action == park.ActUpdate:
				return false
			case e.Action == park.ActStart:
				return true
			}
		}
	}
	return false
}

// later reports whether a later event of the task matches.
func (c *cut) later(such func(*park.Event) bool) bool {
	for k := c.at; k < len(c.pieces); k++ {
		s, ok := c.pieces[k].what.(step)
		if !ok {
			continue
		}
		for i := range s.Events {
			if e := &s.Events[i]; e.TaskID == c.event.TaskID && e.Action != park.ActSubmit && such(e) {
				return true
			}
		}
	}
	return false
}
