package loadtest

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// doctored is one change of a good run, and the guarantee that the judge must report as broken.
type doctored struct {
	change func(e *evidence)
	want   string
}

const (
	asAsked   = "did not end as requested"
	outcomes  = "outcomes missing, duplicated, wrong or misplaced"
	rules     = "rules broken in the audit log"
	inAnswers = "answers that contradict the pool or the log"
	inEvents  = "events with units, tenants"
	inRows    = "tasks read back"
	onStream  = "differ between the stream and the log"
	inLog     = "missing parts of the audit log"
)

func reasoned(e *park.Event, a park.Action, reason string) {
	e.Action, e.Detail = a, json.RawMessage(`{"reason":"`+reason+`"}`)
}

// ofEnds are changes of how a task ends, in the log and in the stream.
func ofEnds() map[string]doctored {
	completes := func(e *park.Event) { e.Action, e.Detail = park.ActComplete, nil }
	end := func(s park.Status, change func(e *park.Event)) func(*evidence) {
		return func(e *evidence) {
			e.changeFirst(of(e.id(e.findTask(s, true)), park.ActComplete, park.ActFail, park.ActExpire, park.ActCancel), change)
		}
	}
	limited := func(change func(*park.Event)) func(*evidence) {
		return func(e *evidence) { e.changeFirst(of(e.id(67), park.ActFail), change) }
	}
	return map[string]doctored{
		"fails instead of completing":     {end(park.Completed, func(e *park.Event) { reasoned(e, park.ActFail, reasonRequested) }), asAsked},
		"completes instead of failing":    {end(park.Failed, completes), asAsked},
		"fails for another reason":        {end(park.Failed, func(e *park.Event) { reasoned(e, park.ActFail, "executor_error") }), asAsked},
		"fails without a reason":          {end(park.Failed, func(e *park.Event) { e.Detail = nil }), asAsked},
		"meets a limit that it has not":   {end(park.Failed, func(e *park.Event) { reasoned(e, park.ActFail, park.ReasonTimeout) }), asAsked},
		"completes beyond its limit":      {limited(completes), asAsked},
		"meets its limit early":           {limited(func(e *park.Event) { e.At = park.At(e.At.Add(-400 * time.Millisecond)) }), asAsked},
		"is cancelled by nobody":          {end(park.Completed, func(e *park.Event) { reasoned(e, park.ActCancel, park.ReasonCancelled) }), asAsked},
		"completes though cancelled":      {end(park.Dropped, completes), asAsked},
		"expires without a deadline":      {end(park.Dropped, func(e *park.Event) { reasoned(e, park.ActExpire, park.ReasonDeadlinePassed) }), asAsked},
		"completes with a reason":         {end(park.Completed, func(e *park.Event) { reasoned(e, park.ActComplete, "done") }), inEvents},
		"is cancelled for another reason": {end(park.Dropped, func(e *park.Event) { reasoned(e, park.ActCancel, "tired") }), inEvents},
		"expires before its deadline": {func(e *evidence) {
			i := e.findTask(park.Expired, true)
			e.ledger.entries[i].deadline += time.Minute.Microseconds()
		}, asAsked},
		"expires late": {func(e *evidence) {
			i := e.findTask(park.Expired, true)
			e.ledger.entries[i].deadline -= time.Minute.Microseconds()
		}, asAsked},
		"starts after its deadline": {func(e *evidence) {
			i := e.findTask(park.Completed, true)
			e.ledger.entries[i].deadline = e.rowOf(i).StartedAt.Micro()
		}, "at or after the deadline"},
		"never ends": {func(e *evidence) {
			e.removeEvents(of(e.id(e.findTask(park.Completed, true)), park.ActComplete))
		}, "accepted tasks lost"},
		"is cancelled, and the answer said no": {func(e *evidence) {
			e.ledger.entries[e.findTask(park.Dropped, true)].flags |= cancelRefused
		}, asAsked},
		"is told to stop by nobody": {func(e *evidence) {
			e.changeFirst(func(o *park.Event) bool { return o.Action == park.ActStart && o.TaskID != "lt-probe" }, func(*park.Event) {})
			at := slices.IndexFunc(e.log, func(o park.Event) bool { return o.Action == park.ActUpdate })
			e.log[at].Detail = json.RawMessage(`{"cancel":"` + e.id(e.findTask(park.Completed, true)) + `"}`)
		}, asAsked},
		"ends after half of its work": {func(e *evidence) {
			i := e.findTask(park.Completed, true)
			e.ledger.entries[i].work *= 2
		}, "before their work was done"},
		"ends at once": {func(e *evidence) {
			i := e.findTask(park.Completed, true)
			e.changeAll(of(e.id(i), park.ActComplete), func(o *park.Event) { o.At = e.rowOf(i).StartedAt })
		}, "before their work was done"},
		"goes on after its work": {func(e *evidence) {
			i := e.findTask(park.Completed, true)
			e.changeFirst(of(e.id(i), park.ActComplete), func(o *park.Event) { o.At = park.At(o.At.Add(11 * time.Second)) })
		}, "continued after"},
		"goes on though told to stop": {func(e *evidence) {
			e.changeFirst(of(e.id(41), park.ActCancel), func(o *park.Event) { o.At = park.At(o.At.Add(10 * time.Second)) })
		}, "continued after"},
		"ends twice": {func(e *evidence) {
			id := e.id(e.findTask(park.Completed, true))
			for _, all := range []*[]park.Event{&e.log, &e.stream} {
				at := slices.IndexFunc(*all, func(o park.Event) bool { return of(id, park.ActComplete)(&o) })
				again := (*all)[at]
				again.Ord++
				again.EventID = park.EventID("load", again.Rev, again.Ord)
				*all = slices.Insert(*all, at+1, again)
			}
		}, "ended twice"},
	}
}

// ofEvents are changes of events, in the log and in the stream.
func ofEvents() map[string]doctored {
	all := func(change func(e *park.Event)) func(*evidence) {
		return func(e *evidence) { e.changeAll(of(e.id(e.findTask(park.Completed, true))), change) }
	}
	submission := func(s park.Status, detail string) func(*evidence) {
		return func(e *evidence) {
			e.changeFirst(of(e.id(e.findTask(s, true)), park.ActSubmit), func(o *park.Event) { o.Detail = json.RawMessage(detail) })
		}
	}
	return map[string]doctored{
		"a whole life with other units":    {all(func(e *park.Event) { e.Units++ }), inEvents},
		"a whole life of another tenant":   {all(func(e *park.Event) { e.Tenant = "tenant-9" }), inEvents},
		"another priority":                 {submission(park.Completed, `{"priority":"urgent","mailbox":"lt-box-1"}`), inEvents},
		"nothing told of a submission":     {submission(park.Completed, ""), inEvents},
		"a deadline that nobody asked for": {submission(park.Failed, `{"priority":"low","deadline":"2000-01-02T00:00:00Z"}`), inEvents},
		"a start with other units": {func(e *evidence) {
			e.changeFirst(of(e.id(e.findTask(park.Completed, true)), park.ActStart), func(o *park.Event) { o.Units++ })
		}, rules},
		"a first start as the second": {func(e *evidence) {
			e.changeAll(of(e.id(e.findTask(park.Completed, true)), park.ActStart, park.ActComplete), func(o *park.Event) { o.Attempt = 2 })
		}, rules},
		"a run lost and begun again": {func(e *evidence) {
			id := e.id(e.findTask(park.Completed, true))
			for _, all := range []*[]park.Event{&e.log, &e.stream} {
				at := slices.IndexFunc(*all, func(o park.Event) bool { return of(id, park.ActComplete)(&o) })
				rev, when := (*all)[at].Rev, (*all)[at].At
				back, next := (*all)[at], (*all)[at]
				reasoned(&back, park.ActRequeue, park.ReasonNodeLost)
				next.Action, next.Attempt = park.ActStart, 2
				*all = slices.Insert(*all, at, back, next)
				(*all)[at+2].Attempt = 2
				for k, ord := at, back.Ord; k < len(*all) && (*all)[k].Rev == rev; k, ord = k+1, ord+1 {
					(*all)[k].Ord, (*all)[k].EventID, (*all)[k].At = ord, park.EventID("load", rev, ord), when
				}
			}
		}, "runs lost although no daemon was"},
		"two starts in the other order": {func(e *evidence) {
			e.swapStarts()
		}, "out of order"},
		"a life of a task that was refused": {func(e *evidence) {
			i := e.findTask(park.Completed, true)
			e.ledger.entries[i].answer, e.ledger.entries[i].code = rejected, refusalOf(park.QueueFull)
			e.ledger.accepted--
			e.ledger.rejected++
		}, "after being rejected"},
		"a life of a task of which nothing was taken": {func(e *evidence) {
			i := e.findTask(park.Completed, true)
			e.ledger.entries[i].answer, e.ledger.accepted = unanswered, e.ledger.accepted-1
		}, "after being rejected"},
		"a submission that is missing": {func(e *evidence) {
			e.removeEvents(of(e.id(e.findTask(park.Completed, true)), park.ActSubmit))
		}, rules},
		"a rev that is missing": {func(e *evidence) {
			rev := e.log[len(e.log)/2].Rev
			e.removeEvents(func(o *park.Event) bool { return o.Rev == rev })
		}, rules},
		"nothing of the last hour in the log":   {func(e *evidence) { e.log = nil }, "accepted tasks lost"},
		"the last events missing in the log":    {func(e *evidence) { e.log = e.log[:len(e.log)-3] }, inLog},
		"the first events missing in the log":   {func(e *evidence) { e.log = e.log[4:] }, inLog},
		"an event that the stream did not tell": {func(e *evidence) { e.stream = slices.Delete(e.stream, 200, 201) }, onStream},
		"the end of the stream missing":         {func(e *evidence) { e.stream = e.stream[:len(e.stream)-3] }, onStream},
		"an event told twice":                   {func(e *evidence) { e.stream = slices.Insert(e.stream, 200, e.stream[200]) }, onStream},
		"an event told with other units":        {func(e *evidence) { e.stream[200].Units++ }, onStream},
		"an event told for another time":        {func(e *evidence) { e.stream[200].At = park.At(e.stream[200].At.Add(time.Second)) }, onStream},
		"two events told in the wrong order": {func(e *evidence) {
			e.stream[200], e.stream[201] = e.stream[201], e.stream[200]
		}, onStream},
		"a pool that still runs what has ended": {func(e *evidence) { e.pool.Running, e.pool.UsedUnits = 1, 3 }, inLog},
		"a pool that is further than its log":   {func(e *evidence) { e.rev++ }, inLog},
		"a question by task that finds nothing": {func(e *evidence) {
			e.answer = func(q park.AuditQuery, events []park.Event) []park.Event {
				if q.TaskID != "" {
					return nil
				}
				return events
			}
		}, "audit queries"},
		"a question by task that misses an event": {func(e *evidence) {
			e.answer = func(q park.AuditQuery, events []park.Event) []park.Event {
				if q.TaskID != "" && len(events) > 1 {
					return events[1:]
				}
				return events
			}
		}, "audit queries"},
		"a question by tenant that finds others": {func(e *evidence) {
			e.answer = func(q park.AuditQuery, events []park.Event) []park.Event {
				if q.Tenant != "" {
					return e.log[:100]
				}
				return events
			}
		}, "audit queries"},
	}
}

// swapStarts swaps the starts of two parked tasks that followed each other.
func (e *evidence) swapStarts() {
	starts := func(o *park.Event) bool { return o.Action == park.ActStart && o.Units == 1 && o.TaskID != "lt-probe" }
	for _, all := range []*[]park.Event{&e.log, &e.stream} {
		for at := 0; at+1 < len(*all); at++ {
			a, b := &(*all)[at], &(*all)[at+1]
			parked := func(o *park.Event) bool {
				i, own := e.ledger.number(o.TaskID)
				return own && !e.ledger.entries[i].is(running)
			}
			if starts(a) && starts(b) && a.Rev == b.Rev && parked(a) && parked(b) {
				a.TaskID, b.TaskID, a.Tenant, b.Tenant = b.TaskID, a.TaskID, b.Tenant, a.Tenant
				break
			}
		}
	}
}

// ofMessages are changes in the mailboxes.
func ofMessages() map[string]doctored {
	one := func(s park.Status, change func(m *park.Message)) func(*evidence) {
		return func(e *evidence) { change(e.message(e.findTask(s, true))) }
	}
	moved := func(to func(b mailbox) mailbox) func(*evidence) {
		return func(e *evidence) {
			i := e.findTask(park.Completed, true)
			e.insertMessage(to(e.ledger.mailboxes[e.ledger.entries[i].mailbox]), e.removeMessage(i))
		}
	}
	return map[string]doctored{
		"lost": {func(e *evidence) { e.removeMessage(e.findTask(park.Completed, true)) }, outcomes},
		"twice": {func(e *evidence) {
			m := *e.message(e.findTask(park.Failed, true))
			e.insertMessage(e.boxOf(m.TaskID), m)
		}, outcomes},
		"nobody": {func(e *evidence) {
			e.insertMessage(e.ledger.mailboxes[3], park.Message{ID: "z", TaskID: "lt-7777", PoolID: "load"})
		}, outcomes},
		"of a refused task": {func(e *evidence) {
			i := e.findTask(park.Expired, true)
			e.removeEvents(of(e.id(i)))
			e.ledger.entries[i].answer = rejected
		}, outcomes},
		"in another mailbox": {moved(func(b mailbox) mailbox { return mailbox{b.tenant, e0(b.key)} }), outcomes},
		"in that of another tenant": {moved(func(b mailbox) mailbox {
			return mailbox{"tenant-" + strconv.Itoa(int(b.tenant[7]-'0'+1)%tenants), b.key}
		}), outcomes},
		"in two mailboxes, swapped": {func(e *evidence) { e.swapBoxes() }, outcomes},
		"for another task": {func(e *evidence) {
			e.message(e.findTask(park.Completed, true)).TaskID = e.id(e.findTask(park.Failed, true))
		}, outcomes},
		"of another pool":            {one(park.Completed, func(m *park.Message) { m.PoolID = "other" }), outcomes},
		"of another status":          {one(park.Failed, func(m *park.Message) { m.Status = park.Expired }), outcomes},
		"of another attempt":         {one(park.Completed, func(m *park.Message) { m.Attempt++ }), outcomes},
		"of a first attempt":         {one(park.Expired, func(m *park.Message) { m.Attempt = 1 }), outcomes},
		"with another result":        {one(park.Completed, func(m *park.Message) { m.Payload = json.RawMessage(`"7"`) }), outcomes},
		"without the result":         {one(park.Completed, func(m *park.Message) { m.Payload = nil }), outcomes},
		"with a result of a failure": {one(park.Failed, func(m *park.Message) { m.Payload = json.RawMessage("1") }), outcomes},
		"with another reason":        {one(park.Failed, func(m *park.Message) { m.Reason = park.ReasonTimeout }), outcomes},
		"without a reason":           {one(park.Expired, func(m *park.Message) { m.Reason = "" }), outcomes},
		"of another time":            {one(park.Completed, func(m *park.Message) { m.CreatedAt = park.At(m.CreatedAt.Add(time.Microsecond)) }), outcomes},
		"in the wrong order": {func(e *evidence) {
			b := e.mail[e.ledger.mailboxes[0]]
			b[0], b[len(b)-1] = b[len(b)-1], b[0]
		}, outcomes},
		"all lost": {func(e *evidence) { delete(e.mail, e.ledger.mailboxes[0]) }, "found in their mailboxes"},
	}
}

// e0 is another mailbox.
func e0(key string) string {
	if key == "lt-box-0" {
		return "lt-box-1"
	}
	return "lt-box-0"
}

func (e *evidence) boxOf(id string) mailbox {
	i, _ := e.ledger.number(id)
	return e.ledger.mailboxes[e.ledger.entries[i].mailbox]
}

func (e *evidence) swapBoxes() {
	a, b := e.ledger.mailboxes[0], e.ledger.mailboxes[1]
	e.mail[a], e.mail[b] = e.mail[b], e.mail[a]
}

// ofRows are changes of the tasks that are read back.
func ofRows() map[string]doctored {
	one := func(s park.Status, change func(t *park.Task)) func(*evidence) {
		return func(e *evidence) { change(e.rowOf(e.findTask(s, true))) }
	}
	later := func(t park.Time) park.Time { return park.At(t.Add(time.Microsecond)) }
	changes := map[string]func(*evidence){
		"another status":    one(park.Failed, func(t *park.Task) { t.Status = park.Completed }),
		"not ended":         one(park.Completed, func(t *park.Task) { t.Status = park.Running }),
		"other units":       one(park.Completed, func(t *park.Task) { t.ResourceCost.Units++ }),
		"another priority":  one(park.Completed, func(t *park.Task) { t.Priority = park.Low - t.Priority }),
		"another attempt":   one(park.Completed, func(t *park.Task) { t.Attempt++ }),
		"another result":    one(park.Completed, func(t *park.Task) { t.Result = json.RawMessage("-1") }),
		"no result":         one(park.Completed, func(t *park.Task) { t.Result = nil }),
		"another tenant":    one(park.Completed, func(t *park.Task) { t.Tenant = "default" }),
		"another pool":      one(park.Completed, func(t *park.Task) { t.PoolID = "other" }),
		"another mailbox":   one(park.Completed, func(t *park.Task) { t.MailboxKey += "0" }),
		"another reason":    one(park.Expired, func(t *park.Task) { t.Reason = park.ReasonCancelled }),
		"a deadline":        one(park.Completed, func(t *park.Task) { t.Deadline = park.FromMicro(t.Deadline.Micro() + 1) }),
		"a time limit":      one(park.Completed, func(t *park.Task) { t.TimeoutSecs = 1 }),
		"a position":        one(park.Completed, func(t *park.Task) { t.Position = 1 }),
		"submitted later":   one(park.Completed, func(t *park.Task) { t.SubmittedAt = later(t.SubmittedAt) }),
		"started later":     one(park.Completed, func(t *park.Task) { t.StartedAt = later(t.StartedAt) }),
		"ended later":       one(park.Completed, func(t *park.Task) { t.CompletedAt = later(t.CompletedAt) }),
		"started, expired":  one(park.Expired, func(t *park.Task) { t.StartedAt = t.CompletedAt }),
		"two lives swapped": func(e *evidence) { a, b := e.rowOf(10), e.rowOf(11); a.TaskID, b.TaskID = b.TaskID, a.TaskID },
		"gone": func(e *evidence) {
			id := e.id(e.findTask(park.Completed, true))
			e.rows = slices.DeleteFunc(e.rows, func(t park.Task) bool { return t.TaskID == id })
		},
		"listed twice":       func(e *evidence) { e.rows = slices.Insert(e.rows, 50, e.rows[50]) },
		"oldest first":       func(e *evidence) { slices.Reverse(e.rows) },
		"never submitted":    func(e *evidence) { i := e.findTask(park.Expired, true); e.removeEvents(of(e.id(i))); e.refuse(i) },
		"others for one":     func(e *evidence) { e.one = func(t park.Task) park.Task { t.TaskID += "0"; return t } },
		"otherwise when one": func(e *evidence) { e.one = func(t park.Task) park.Task { t.Attempt++; return t } },
	}
	all := make(map[string]doctored, len(changes))
	for name, change := range changes {
		all[name] = doctored{change, inRows}
	}
	return all
}

// refuse makes task number i a refused one.
func (e *evidence) refuse(i int) {
	e.ledger.entries[i].answer, e.ledger.entries[i].code = rejected, refusalOf(park.QueueFull)
	e.ledger.accepted--
	e.ledger.rejected++
}

// ofAnswers are changes of the answers to submissions, in the ledger.
func ofAnswers() map[string]doctored {
	one := func(parked bool, change func(t *entry)) func(*evidence) {
		return func(e *evidence) { change(&e.ledger.entries[e.findTask(park.Completed, parked)]) }
	}
	refusal := func(code park.Code) func(*evidence) {
		return func(e *evidence) {
			i := e.findTask(park.Expired, true)
			e.refuse(i)
			e.ledger.entries[i].code = refusalOf(code)
			e.refusedInstead(i, code)
		}
	}
	changes := map[string]func(*evidence){
		"running, though parked": one(true, func(t *entry) { t.mark(running); t.position = 0 }),
		"parked, though running": one(false, func(t *entry) { t.flags &^= running; t.position = 1 }),
		"another position":       one(true, func(t *entry) { t.position++ }),
		"submitted earlier":      one(true, func(t *entry) { t.submitted-- }),
		"nothing taken, though it was": func(e *evidence) {
			i := e.findTask(park.Completed, true)
			e.ledger.denied[i] = e.ledger.entries[i].submitted + 1
		},
		"full, though it was not":         refusal(park.QueueFull),
		"no capacity, though there was":   refusal(park.CapacityZero),
		"draining, though it was not":     refusal(park.PoolDraining),
		"too late, though it was not":     refusal(park.DeadlinePast),
		"too large, though it was not":    refusal(park.CostExceedsPool),
		"taken, though nobody had it":     refusal(park.TaskExists),
		"refused, and no word in the log": func(e *evidence) { i := e.findTask(park.Expired, true); e.removeEvents(of(e.id(i))); e.refuse(i) },
		"refused otherwise than in the log": func(e *evidence) {
			i := e.findTask(park.Expired, true)
			e.refuse(i)
			e.refusedInstead(i, park.DeadlinePast)
		},
		"accepted, refused in the log": func(e *evidence) { e.refusedInstead(e.findTask(park.Expired, true), park.QueueFull) },
	}
	all := make(map[string]doctored, len(changes))
	for name, change := range changes {
		all[name] = doctored{change, inAnswers}
	}
	return all
}

// refusedInstead replaces the events of task number i by a refusal, in the log and in the stream.
func (e *evidence) refusedInstead(i int, code park.Code) {
	id := e.id(i)
	e.changeFirst(of(id, park.ActSubmit), func(o *park.Event) {
		o.Action, o.Detail = park.ActReject, json.RawMessage(`{"code":"`+string(code)+`"}`)
	})
	e.removeEvents(of(id, park.ActEnqueue, park.ActStart, park.ActExpire, park.ActComplete))
}

// TestDoctoredRunsAreFound changes one thing of a good run at a time.
func TestDoctoredRunsAreFound(t *testing.T) {
	good := record(t, func(*fake) {}, Options{N: 200})
	if r := good.clone().judge(t); !r.OK() {
		t.Fatalf("the good run is not one: %q, %q", brokenGuarantees(r), r.Offences)
	}
	for kind, all := range map[string]map[string]doctored{
		"end": ofEnds(), "event": ofEvents(), "message": ofMessages(), "row": ofRows(), "answer": ofAnswers(),
	} {
		for name, d := range all {
			t.Run(kind+"/"+name, func(t *testing.T) {
				e := good.clone()
				d.change(e)
				if r := e.judge(t); !about(brokenGuarantees(r), d.want) {
					t.Errorf("broken: %q, want one about %q; %q", brokenGuarantees(r), d.want, r.Offences)
				}
			})
		}
	}
}
