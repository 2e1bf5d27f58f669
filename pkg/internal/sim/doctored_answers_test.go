package sim

import (
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// answerTo alters the first answer of a kind that has a value and can be altered.
func answerTo[T any](name, promise, what string, alter func(a *answer, v *T) bool) doctored {
	return doctored{name, promise, each(func(a *answer) bool {
		v, ok := a.value.(T)
		if a.op != what || a.err != nil || !ok || !alter(a, &v) {
			return false
		}
		a.value = v
		return true
	})}
}

// refusedBy replaces an answer by a refusal.
func refusedBy(name, promise, what string, err *park.Error, such func(*answer) bool) doctored {
	return doctored{name, promise, each(func(a *answer) bool {
		if a.op != what || a.err != nil || !such(a) {
			return false
		}
		a.err = err
		return true
	})}
}

func doctoredAnswers() []doctored {
	anyAnswer := func(*answer) bool { return true }
	return slices.Concat([]doctored{
		answerTo("a task that is told to be what it was not", "answer", "submit", func(_ *answer, v *park.SubmitResult) bool { v.Status, v.Position = park.Expired, 0; return true }),
		answerTo("a running task with a position", "answer", "submit", func(_ *answer, v *park.SubmitResult) bool { v.Position = 1; return v.Status == park.Running }),
		answerTo("a parked task without a position", "answer", "submit", func(_ *answer, v *park.SubmitResult) bool { v.Position = 0; return v.Status == park.Queued }),
		answerTo("a parked task at another position", "answer", "submit", func(_ *answer, v *park.SubmitResult) bool { v.Position += 60; return v.Status == park.Queued }),
		answerTo("another task is accepted", "answer", "submit", func(_ *answer, v *park.SubmitResult) bool { v.TaskID += "x"; return true }),
		answerTo("a task of another pool is accepted", "answer", "submit", func(_ *answer, v *park.SubmitResult) bool { v.PoolID += "x"; return true }),
		answerTo("a task that is not there is accepted", "durable", "submit", func(_ *answer, v *park.SubmitResult) bool {
			v.SubmittedAt = park.At(v.SubmittedAt.Add(time.Second))
			return true
		}),
		refusedBy("a refusal that the log does not tell of", "answer", "submit", park.Errorf(park.PoolDraining, ""), anyAnswer),
		refusedBy("a refusal of what is valid", "answer", "submit", park.Errorf(park.InvalidRequest, ""), anyAnswer),
		refusedBy("an error of the engine's own", "answer", "submit", park.Errorf(park.Internal, ""), anyAnswer),
		refusedBy("an outcome that is unknown, of another task", "answer", "submit", &park.Error{Code: park.OutcomeUnknown, TaskID: "another"}, func(a *answer) bool { return a.id != "" }),
		refusedBy("an outcome that is unknown, of no task", "answer", "submit", &park.Error{Code: park.OutcomeUnknown}, anyAnswer),
		{"what was told not to be accepted", "denied", func(r *record) bool {
			job, changed := -1, false
			for i := range r.pieces {
				if a, ok := r.pieces[i].what.(answer); ok && a.op == "submit" && a.err == nil && job < 0 {
					job = a.job
				}
			}
			offers := 0
			for i := range r.pieces {
				if o, ok := r.pieces[i].what.(submitted); ok && o.job == job {
					if offers++; offers > 1 {
						o.job = 1_000_000 // a job that does not exist
						r.pieces[i].what = o
					}
				}
				if a, ok := r.pieces[i].what.(answer); ok && a.op == "submit" && a.job == job {
					if changed {
						a.job = 1_000_000
					}
					a.err, changed = park.Errorf(park.StorageUnavailable, ""), true
					r.pieces[i].what = a
				}
				if _, ok := r.pieces[i].what.(restored); ok {
					return false
				}
			}
			return changed
		}},
		{"a full pool that is to be tried again at once", "answer", each(func(a *answer) bool {
			full := park.CodeOf(a.err) == park.QueueFull
			if full {
				a.err = park.Errorf(park.QueueFull, "")
			}
			return full
		})},
		answerTo("a cancelled task that was completed", "answer", "cancel", func(_ *answer, v *park.Task) bool { v.Status = park.Completed; return true }),
		answerTo("a cancelled task of another tenant", "answer", "cancel", func(_ *answer, v *park.Task) bool { v.Tenant = "another"; return true }),
		answerTo("a cancelled task with another result", "answer", "cancel", func(_ *answer, v *park.Task) bool { v.Result = []byte(`1`); return true }),
		answerTo("a cancelled task of other units", "answer", "cancel", func(_ *answer, v *park.Task) bool { v.ResourceCost.Units++; return true }),
		answerTo("another task is cancelled", "answer", "cancel", func(_ *answer, v *park.Task) bool { v.TaskID += "x"; return true }),
		{"a task that is told to have ended, and has not", "answer", atEvent(park.ActStart, func(c *cut) bool {
			q := request{op: "cancel", pool: c.event.PoolID, id: c.event.TaskID, asked: c.pieces[c.at].at}
			c.pieces = slices.Insert(c.pieces, c.at+1, evidence{q.asked, answer{q, park.Errorf(park.TaskFinished, ""), park.Task{}}})
			return c.row.Status == park.Running && c.row.Attempt == 1 && c.first()
		})},
		{"a task that is told not to be there", "durable", atEvent(park.ActStart, func(c *cut) bool {
			q := request{op: "cancel", pool: c.event.PoolID, id: c.event.TaskID, asked: c.pieces[c.at].at}
			c.pieces = slices.Insert(c.pieces, c.at+1, evidence{q.asked, answer{q, park.Errorf(park.TaskNotFound, ""), park.Task{}}})
			return true
		})},
		answerTo("a pool that is not as it was set", "answer", "set", func(a *answer, v *park.Pool) bool {
			units := v.MaxUnits + 1_000_000
			a.query = park.PoolPatch{MaxUnits: &units}
			return true
		}),
		answerTo("a pool that is shown as it never was", "answer", "set", func(_ *answer, v *park.Pool) bool { v.UsedUnits += 1_000_000; return true }),
	}, doctoredReads(), doctoredLeases())
}

// first reports whether only the task's submission precedes the event's step.
func (c *cut) first() bool {
	for _, e := range c.pieces[:c.at] {
		if s, ok := e.what.(step); ok {
			for i := range s.Events {
				if s.Events[i].TaskID == c.event.TaskID && s.Events[i].Action != park.ActSubmit && s.Events[i].Action != park.ActEnqueue {
					return false
				}
			}
		}
	}
	return true
}

func doctoredReads() []doctored {
	return []doctored{
		answerTo("a message that is left out", "mailbox", "mailbox", func(a *answer, v *park.MessagePage) bool {
			if len(v.Messages) < 2 {
				return false
			}
			v.Messages = v.Messages[1:]
			return true
		}),
		answerTo("a message that is read twice", "mailbox", "mailbox", func(_ *answer, v *park.MessagePage) bool {
			v.Messages = append(slices.Clone(v.Messages), v.Messages...)
			return len(v.Messages) > 0
		}),
		answerTo("a message that is read as another", "mailbox", "mailbox", func(_ *answer, v *park.MessagePage) bool {
			v.Messages = slices.Clone(v.Messages)
			for i := range v.Messages {
				v.Messages[i].Payload = []byte(`1`)
			}
			return len(v.Messages) > 0
		}),
		answerTo("a mailbox that goes on elsewhere", "mailbox", "mailbox", func(_ *answer, v *park.MessagePage) bool { v.Next = "1000000"; return len(v.Messages) > 0 }),
		answerTo("a task that is shown as it was not", "answer", "task", func(_ *answer, v *park.Task) bool { v.Attempt += 7; return true }),
		answerTo("a task with another's result", "answer", "task", func(_ *answer, v *park.Task) bool { v.Result = []byte(`1`); return true }),
		answerTo("a task of another date", "answer", "task", func(_ *answer, v *park.Task) bool { v.SubmittedAt = park.At(epoch); return true }),
		answerTo("a running task that waits", "answer", "task", func(_ *answer, v *park.Task) bool { v.Position = 1; return v.Status == park.Running }),
		answerTo("a list that lacks a task", "answer", "list", func(a *answer, v *park.TaskPage) bool {
			n := len(v.Tasks) - 1
			if n < 3 || v.Next != "" || a.query.(park.TaskQuery).Cursor != "" || a.query.(park.TaskQuery).Status != park.Completed {
				return false
			}
			v.Tasks = v.Tasks[:n]
			return true
		}),
		answerTo("a list that has a task twice", "answer", "list", func(_ *answer, v *park.TaskPage) bool {
			v.Tasks = append(slices.Clone(v.Tasks), v.Tasks...)
			return len(v.Tasks) > 0
		}),
		answerTo("a list in another order", "answer", "list", func(_ *answer, v *park.TaskPage) bool {
			n := len(v.Tasks)
			if n < 2 || v.Tasks[0].SubmittedAt.Equal(v.Tasks[n-1].SubmittedAt.Time) {
				return false
			}
			v.Tasks = slices.Clone(v.Tasks)
			slices.Reverse(v.Tasks)
			return true
		}),
		answerTo("a log that lacks an event", "log", "audit", func(_ *answer, v *park.EventPage) bool {
			if len(v.Events) < 3 {
				return false
			}
			v.Events = slices.Delete(slices.Clone(v.Events), 1, 2)
			return true
		}),
		answerTo("a log with another event", "log", "audit", func(_ *answer, v *park.EventPage) bool {
			v.Events = slices.Clone(v.Events)
			for i := range v.Events {
				v.Events[i].Units++
			}
			return len(v.Events) > 0
		}),
		answerTo("a log that ends too early", "log", "audit", func(_ *answer, v *park.EventPage) bool {
			if len(v.Events) < 3 {
				return false
			}
			v.Events, v.Next = v.Events[:1], ""
			return true
		}),
		answerTo("a mailbox that looks empty", "mailbox", "mailbox", func(a *answer, v *park.MessagePage) bool {
			long := len(v.Messages) > 0 && a.query.(park.MailboxQuery).After != ""
			a.asked += time.Hour // at that time all of them exist
			v.Messages, v.Next = nil, a.query.(park.MailboxQuery).After
			return long
		}),
	}
}

func doctoredLeases() []doctored {
	leased := func(name string, alter func(*park.Lease)) doctored {
		return answerTo(name, "answer", "lease", func(_ *answer, v *[]park.Lease) bool {
			if len(*v) == 0 {
				return false
			}
			*v = slices.Clone(*v)
			alter(&(*v)[0])
			return true
		})
	}
	return []doctored{
		leased("a lease with another payload", func(l *park.Lease) { l.Payload = []byte(`1`) }),
		leased("a lease of another attempt", func(l *park.Lease) { l.Attempt++ }),
		leased("a lease of other units", func(l *park.Lease) { l.Units++ }),
		leased("a lease of another tenant", func(l *park.Lease) { l.Tenant = "another" }),
		leased("a lease with another time limit", func(l *park.Lease) { l.TimeoutSecs++ }),
		leased("a lease of another task", func(l *park.Lease) { l.TaskID += "x" }),
		{"a lease that is given out twice", "answer", find(func(r *record, at int, a *answer) bool {
			l, ok := a.value.([]park.Lease)
			return ok && len(l) > 0 && r.insert(at, *a)
		})},
		refusedBy("a lease that is lost while it is held", "answer", "keep", park.Errorf(park.LeaseLost, ""), func(*answer) bool { return true }),
		answerTo("an outcome that was taken, and was another", "answer", "end", func(_ *answer, v *park.LeaseResult) bool {
			v.Payload = []byte(`1`)
			return v.Status == park.Completed
		}),
		answerTo("a lease that never was is kept", "answer", "keep", func(a *answer, _ *park.Kept) bool { a.query = "edge.1.x.y"; return true }),
		answerTo("a lease that is given back and held", "answer", "keep", func(a *answer, _ *park.Kept) bool { a.op = "release"; return true }),
	}
}
