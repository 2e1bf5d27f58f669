package sim

import (
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// rowOf alters the row of a task after the first step with an action.
func rowOf(name string, a park.Action, alter func(*ledger.State)) doctored {
	return doctored{name, "rows|result|reason|order", atEvent(a, func(c *cut) bool {
		if c.row == nil {
			return false
		}
		alter(c.row)
		return true
	})}
}

// specOf alters a new task.
func specOf(name string, alter func(*ledger.Spec)) doctored {
	return doctored{name, "one task|payload|order|event", atEvent(park.ActSubmit, func(c *cut) bool { alter(c.spec); return true })}
}

// poolOf alters a pool's row.
func poolOf(name string, alter func(*ledger.Pool)) doctored {
	return doctored{name, "accounting|event|limits", find(func(r *record, at int, s *step) bool { alter(&s.Row); r.pieces[at].what = *s; return true })}
}

func doctoredRows() []doctored {
	return []doctored{
		rowOf("a row of another status", park.ActStart, func(s *ledger.State) { s.Status = park.Completed }),
		rowOf("a row of another attempt", park.ActStart, func(s *ledger.State) { s.Attempt++ }),
		rowOf("a row of another node", park.ActStart, func(s *ledger.State) { s.Node = "another" }),
		rowOf("a row that has not started", park.ActComplete, func(s *ledger.State) { s.StartedAt = park.Time{} }),
		rowOf("a row that ended later", park.ActComplete, func(s *ledger.State) { s.EndedAt = park.At(s.EndedAt.Add(time.Second)) }),
		rowOf("a row with a run that counts", park.ActComplete, func(s *ledger.State) { s.Failures++ }),
		rowOf("a row that is cancelled", park.ActStart, func(s *ledger.State) { s.Cancelled = true }),
		rowOf("a row that rests", park.ActStart, func(s *ledger.State) { s.NotBefore = park.At(epoch) }),
		rowOf("a row with a message", park.ActStart, func(s *ledger.State) { s.Message = "what?" }),
		rowOf("a row with another reason", park.ActFail, func(s *ledger.State) { s.Reason = park.ReasonExecutorError }),
		rowOf("a row with another lease", park.ActComplete, func(s *ledger.State) { s.Lease += "x" }),
		{"a row at another's place", "order", atEvent(park.ActEnqueue, func(c *cut) bool { c.row.Rank = -7; return c.step.Row.Queued > 12 })},
		{"an event without a row", "rows", find(func(r *record, at int, s *step) bool {
			n := len(s.Updates)
			if n > 0 {
				s.Updates = s.Updates[:n-1]
				r.pieces[at].what = *s
			}
			return n > 0
		})},
		{"a row without an event", "rows", find(func(r *record, at int, s *step) bool {
			if len(s.Updates) == 0 {
				return false
			}
			more := s.Updates[0]
			more.TaskID = "another"
			s.Updates = append(s.Updates, more)
			r.pieces[at].what = *s
			return true
		})},
		specOf("other units", func(s *ledger.Spec) { s.Units++ }),
		specOf("another tenant", func(s *ledger.Spec) { s.Tenant = "another" }),
		specOf("another mailbox", func(s *ledger.Spec) { s.MailboxKey += "x" }),
		specOf("another priority", func(s *ledger.Spec) { s.Priority = (s.Priority+2)%4 - 1 }),
		specOf("another deadline", func(s *ledger.Spec) { s.Deadline = park.At(epoch.Add(time.Hour)) }),
		specOf("another timeout", func(s *ledger.Spec) { s.Timeout += time.Second }),
		specOf("other retries", func(s *ledger.Spec) { s.Retry.MaxAttempts++ }),
		specOf("another id", func(s *ledger.Spec) { s.TaskID += "x" }),
		specOf("another payload", func(s *ledger.Spec) { s.Payload = []byte(`{"job":0,"lasts":1}`) }),
		specOf("no digest", func(s *ledger.Spec) { s.Digest = 0 }),
		poolOf("units in use that nobody has", func(r *ledger.Pool) { r.Used++ }),
		poolOf("one parked that is not", func(r *ledger.Pool) { r.Queued++ }),
		poolOf("another capacity", func(r *ledger.Pool) { r.MaxUnits++ }),
		poolOf("another depth", func(r *ledger.Pool) { r.MaxQueueDepth++ }),
		poolOf("another state", func(r *ledger.Pool) { r.State = park.Draining }),
		poolOf("another rev", func(r *ledger.Pool) { r.Rev++ }),
		poolOf("another step", func(r *ledger.Pool) { r.LastStep = "another" }),
		{"a row that is gone in the end", "rows", each(func(w *finalPool) bool { w.tasks = w.tasks[:max(len(w.tasks)-1, 0)]; return len(w.tasks) > 0 })},
		{"a row that nobody put in", "rows", each(func(w *finalPool) bool {
			w.tasks = append(slices.Clone(w.tasks), ledger.Record{Spec: ledger.Spec{PoolID: w.pool, TaskID: "nobody"}})
			return true
		})},
		{"a row twice in the end", "rows", each(func(w *finalPool) bool {
			w.tasks = append(slices.Clone(w.tasks), w.tasks[:min(len(w.tasks), 1)]...)
			return len(w.tasks) > 0
		})},
		{"a row with another result in the end", "rows", each(func(w *finalPool) bool {
			w.tasks = slices.Clone(w.tasks)
			for i := range w.tasks {
				w.tasks[i].Result = []byte(`1`)
			}
			return len(w.tasks) > 0
		})},
		{"a row of another submission in the end", "rows", each(func(w *finalPool) bool {
			w.tasks = slices.Clone(w.tasks)
			for i := range w.tasks {
				w.tasks[i].Units++
			}
			return len(w.tasks) > 0
		})},
		{"another pool in the end", "rows", each(func(w *finalPool) bool { w.row.Used++; return w.row.Rev > 0 })},
	}
}

// mailOf alters a message.
func mailOf(name string, alter func(*park.Message)) doctored {
	return doctored{name, "one message", each(func(m *messageStored) bool { alter(&m.Message); return true })}
}

func doctoredMail() []doctored {
	return []doctored{
		mailOf("a message with a foreign payload", func(m *park.Message) { m.Payload = []byte(`{"task":"another"}`) }),
		mailOf("a message of another attempt", func(m *park.Message) { m.Attempt++ }),
		mailOf("a message of another tenant", func(m *park.Message) { m.Tenant = "another" }),
		mailOf("a message of another pool", func(m *park.Message) { m.PoolID = "another" }),
		mailOf("a message in another mailbox", func(m *park.Message) { m.Key += "x" }),
		mailOf("a message of another date", func(m *park.Message) { m.CreatedAt = park.At(m.CreatedAt.Add(time.Second)) }),
		mailOf("a message of another status", func(m *park.Message) { m.Status = park.Queued }),
		mailOf("a message with another reason", func(m *park.Message) { m.Reason += "x" }),
		mailOf("a message with another text", func(m *park.Message) { m.Message += "x" }),
		mailOf("a message of another task", func(m *park.Message) { m.TaskID += "x" }),
		{"no message", "one message", find(func(r *record, at int, _ *messageStored) bool { return r.drop(at) })},
		{"a message twice", "one message", find(func(r *record, at int, m *messageStored) bool { return r.insert(at, *m) })},
		{"a message before the end", "one message", find(func(r *record, at int, m *messageStored) bool {
			for i := at - 1; i > 0; i-- {
				if s, ok := r.pieces[i].what.(step); ok && s.PoolID == m.PoolID {
					r.drop(at)
					return r.insert(i, *m)
				}
			}
			return false
		})},
		{"a message by itself", "one step", find(func(r *record, at int, _ *step) bool { return r.insert(at, stray{"1 message"}) })},
	}
}

func doctoredLives() []doctored {
	return []doctored{
		{"a node that is buried alive", "node loss", find(func(r *record, at int, w *buried) bool {
			return r.insert(at, heartbeatStored{w.node, store.NodeConfig{TTL: 2 * time.Second, Grace: time.Second}})
		})},
		{"a worker that is lost although it has kept its lease", "reason", atEvent(park.ActRequeue, func(c *cut) bool {
			if reasonOf(c.event) != park.ReasonWorkerLost || c.n > 0 {
				return false
			}
			lease := ""
			for i := c.at - 1; i > 0; i-- {
				s, ok := c.pieces[i].what.(step)
				if !ok || s.PoolID != c.event.PoolID {
					continue
				}
				if lease = c.leaseBefore(i); lease == "" {
					return false
				}
				at := c.pieces[i].at
				q := request{op: "keep", pool: c.event.PoolID, id: c.event.TaskID, asked: at, query: lease}
				return c.pieces[c.at].at-at < time.Second && at > 0 && c.insert(i, answer{q, nil, park.Kept{}})
			}
			return false
		})},
		{"a task that is forgotten before its end", "retention", atEvent(park.ActStart, func(c *cut) bool {
			c.pieces = slices.Insert(c.pieces, c.at+1, evidence{c.pieces[c.at].at, pruned{c.event.PoolID, c.event.TaskID}})
			return c.row.Status == park.Running
		})},
	}
}

// leaseBefore returns the lease of the event's task before a place.
func (c *cut) leaseBefore(at int) (lease string) {
	for _, e := range c.pieces[:at] {
		if s, ok := e.what.(step); ok {
			for i := range s.Updates {
				if s.Updates[i].TaskID == c.event.TaskID {
					lease = s.Updates[i].State.Lease
				}
			}
			for i := range s.Inserts {
				if s.Inserts[i].TaskID == c.event.TaskID {
					lease = s.Inserts[i].Lease
				}
			}
		}
	}
	return lease
}
