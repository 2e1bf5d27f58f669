package replay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

var limits = replay.Limits{MaxUnits: 10, MaxQueueDepth: 2}

// log builds events: each call of step is one rev.
type log struct {
	rev    int64
	events []park.Event
}

func (l *log) step(events ...park.Event) *log {
	l.rev++
	for i, e := range events {
		e.PoolID, e.Rev, e.Ord = "gpu", l.rev, i
		e.EventID = park.EventID(e.PoolID, e.Rev, e.Ord)
		if e.At.IsZero() {
			e.At = at(l.rev)
		}
		l.events = append(l.events, e)
	}
	return l
}

func at(rev int64) park.Time {
	return park.At(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rev) * time.Second))
}

func ev(a park.Action, task string, units int64, attempt int) park.Event {
	e := park.Event{Action: a, TaskID: task, Units: units, Attempt: attempt, Tenant: "default"}
	switch a {
	case park.ActExpire:
		e.Detail = json.RawMessage(`{"reason":"deadline_passed"}`)
	case park.ActCancel:
		e.Detail = json.RawMessage(`{"reason":"cancelled"}`)
	default:
	}
	return e
}

func update(detail string) park.Event {
	return park.Event{Action: park.ActUpdate, Detail: json.RawMessage(detail)}
}

func submit(task string, units int64) park.Event  { return ev(park.ActSubmit, task, units, 0) }
func enqueue(task string, units int64) park.Event { return ev(park.ActEnqueue, task, units, 0) }
func start(task string, units int64, attempt int) park.Event {
	return ev(park.ActStart, task, units, attempt)
}

func complete(task string, units int64, attempt int) park.Event {
	return ev(park.ActComplete, task, units, attempt)
}

// lives is a log in which every legal change happens once.
func lives() *log {
	l := &log{}
	l.step(submit("a", 6), start("a", 6, 1))
	l.step(submit("b", 6), enqueue("b", 6))
	l.step(submit("c", 2), enqueue("c", 2))
	l.step(park.Event{Action: park.ActReject, TaskID: "d", Units: 1, Detail: json.RawMessage(`{"code":"queue_full"}`)})
	l.step(ev(park.ActRequeue, "a", 6, 1), start("b", 6, 1), start("c", 2, 1))
	l.step(ev(park.ActFail, "c", 2, 1))
	l.step(update(`{"cancel":"b"}`))
	l.step(ev(park.ActCancel, "b", 6, 1), start("a", 6, 2))
	l.step(update(`{"maxUnits":{"from":10,"to":4}}`), submit("e", 1), enqueue("e", 1))
	l.step(submit("f", 1), enqueue("f", 1))
	l.step(ev(park.ActExpire, "e", 1, 0))
	l.step(update(`{"state":{"from":"active","to":"paused"}}`), ev(park.ActCancel, "f", 1, 0))
	l.step(complete("a", 6, 2))
	return l
}

func TestReplayOfEveryLegalLife(t *testing.T) {
	p := replay.New(limits)
	p.KeepEnds()
	type figures struct{ Used, Queued, Running int64 }
	var got []figures
	for i, e := range lives().events {
		if err := p.Apply(e); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		s := p.State()
		f := figures{s.Used, int64(s.Queued), int64(s.Running)}
		if int(s.Rev) > len(got) {
			got = append(got, f)
		}
		got[s.Rev-1] = f
	}
	if err := p.Finish(); err != nil {
		t.Fatal(err)
	}
	want := []figures{
		{6, 0, 1},
		{6, 1, 1},
		{6, 2, 1},
		{6, 2, 1},
		{8, 1, 2},
		{6, 1, 1},
		{6, 1, 1},
		{6, 0, 1},
		{6, 1, 1},
		{6, 2, 1},
		{6, 1, 1},
		{6, 0, 1},
		{0, 0, 0},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("used, queued and running at each rev (-want +got):\n%s", d)
	}
	s := p.Summary()
	if s.MaxUsed != 8 || s.MaxQueued != 2 || s.Submitted != 5 || s.Started != 4 || s.Requeued != 1 || s.Rejections["queue_full"] != 1 {
		t.Errorf("summary %+v", s)
	}
	wantEnds := map[park.Action]int{park.ActComplete: 1, park.ActFail: 1, park.ActCancel: 2, park.ActExpire: 1}
	if d := cmp.Diff(wantEnds, s.Ends); d != "" {
		t.Errorf("ends (-want +got):\n%s", d)
	}
	if e := p.Ends()["a"]; e.Action != park.ActComplete || e.Attempt != 2 || e.Rev != 13 {
		t.Errorf("end of a: %+v", e)
	}
	if l := p.State().Limits; l.MaxUnits != 4 || l.State != park.Paused {
		t.Errorf("limits %+v", l)
	}
}

// TestReplayFindsEachBrokenRule puts one fault into a log and checks the rule, the rev and the task of the offence.
func TestReplayFindsEachBrokenRule(t *testing.T) {
	running := func() *log { return (&log{}).step(submit("a", 6), start("a", 6, 1)) }
	parked := func() *log { return running().step(submit("b", 6), enqueue("b", 6)) }
	over := func() *log { return running().step(complete("a", 6, 1)) }
	later := func(l *log, rev int64) *log { l.rev = rev - 1; return l }
	tests := map[string]struct {
		log  *log
		rule replay.Rule
		rev  int64
		task string
	}{
		"rev missing":              {later(running(), 3).step(complete("a", 6, 1)), replay.RuleOrder, 3, "a"},
		"rev twice":                {later(parked(), 2).step(submit("z", 1), start("z", 1, 1)), replay.RuleOrder, 2, "z"},
		"rev backwards":            {later(parked(), 1).step(submit("z", 1), start("z", 1, 1)), replay.RuleOrder, 1, "z"},
		"another pool":             {foreign(running()), replay.RulePool, 2, "x"},
		"time backwards":           {running().step(timed(complete("a", 6, 1), at(0))), replay.RuleTime, 2, "a"},
		"time moves in a step":     {(&log{}).step(submit("a", 6), timed(start("a", 6, 1), at(5))), replay.RuleTime, 1, "a"},
		"submitted twice":          {parked().step(submit("b", 6), enqueue("b", 6)), replay.RuleLife, 3, "b"},
		"never submitted":          {running().step(start("x", 1, 1)), replay.RuleLife, 2, "x"},
		"neither parked nor run":   {running().step(submit("b", 1)).step(submit("c", 1), start("c", 1, 1)), replay.RuleLife, 2, "b"},
		"started while running":    {running().step(start("a", 6, 2)), replay.RuleLife, 2, "a"},
		"completed while parked":   {parked().step(complete("b", 6, 0)), replay.RuleLife, 3, "b"},
		"failed while parked":      {parked().step(ev(park.ActFail, "b", 6, 0)), replay.RuleLife, 3, "b"},
		"expired while running":    {running().step(ev(park.ActExpire, "a", 6, 1)), replay.RuleLife, 2, "a"},
		"requeued while parked":    {parked().step(ev(park.ActRequeue, "b", 6, 0)), replay.RuleLife, 3, "b"},
		"parked while running":     {running().step(enqueue("a", 6)), replay.RuleLife, 2, "a"},
		"rejected while running":   {running().step(ev(park.ActReject, "a", 6, 0)), replay.RuleLife, 2, "a"},
		"stop of a parked task":    {parked().step(update(`{"cancel":"b"}`)), replay.RuleLife, 3, ""},
		"no such action":           {running().step(ev("vanish", "a", 6, 1)), replay.RuleLife, 2, "a"},
		"no task":                  {running().step(ev(park.ActComplete, "", 6, 1)), replay.RuleLife, 2, ""},
		"ended twice":              {over().step(complete("a", 6, 1)), replay.RuleEnded, 3, "a"},
		"started after its end":    {over().step(start("a", 6, 2)), replay.RuleEnded, 3, "a"},
		"submitted after its end":  {over().step(submit("a", 6), start("a", 6, 1)), replay.RuleEnded, 3, "a"},
		"started after expiry":     {parked().step(ev(park.ActExpire, "b", 6, 0)).step(start("b", 6, 1)), replay.RuleEnded, 4, "b"},
		"attempt skipped":          {(&log{}).step(submit("a", 6), start("a", 6, 2)), replay.RuleAttempt, 1, "a"},
		"attempt repeated":         {running().step(ev(park.ActRequeue, "a", 6, 1)).step(start("a", 6, 1)), replay.RuleAttempt, 3, "a"},
		"end of an older attempt":  {running().step(ev(park.ActRequeue, "a", 6, 1), start("a", 6, 2)).step(complete("a", 6, 1)), replay.RuleAttempt, 3, "a"},
		"submitted as a later run": {(&log{}).step(ev(park.ActSubmit, "a", 6, 1), start("a", 6, 1)), replay.RuleAttempt, 1, "a"},
		"starts with other units":  {(&log{}).step(submit("a", 6), start("a", 5, 1)), replay.RuleUnits, 1, "a"},
		"starts with no units":     {(&log{}).step(submit("a", 6), start("a", 0, 1)), replay.RuleUnits, 1, "a"},
		"ends with other units":    {running().step(complete("a", 5, 1)), replay.RuleUnits, 2, "a"},
		"costs nothing":            {(&log{}).step(submit("a", 0), enqueue("a", 0)), replay.RuleUnits, 1, "a"},
		"over capacity":            {parked().step(start("b", 6, 1)), replay.RuleCapacity, 3, "b"},
		"over lowered capacity": {
			running().step(update(`{"maxUnits":{"from":10,"to":7}}`)).step(submit("b", 2), start("b", 2, 1)),
			replay.RuleCapacity, 3, "b",
		},
		"parked too many": {
			parked().step(submit("c", 6), enqueue("c", 6)).step(submit("d", 6), enqueue("d", 6)),
			replay.RuleDepth, 4, "d",
		},
		"started while paused": {
			running().step(update(`{"state":{"from":"active","to":"paused"}}`)).step(submit("b", 2), start("b", 2, 1)),
			replay.RuleState, 3, "b",
		},
		"accepted while draining": {
			running().step(update(`{"state":{"from":"active","to":"draining"}}`)).step(submit("b", 2), start("b", 2, 1)),
			replay.RuleState, 3, "b",
		},
		"capacity changed unseen": {running().step(update(`{"maxUnits":{"from":8,"to":12}}`)), replay.RuleLimits, 2, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := replay.Run(limits, tt.log.events)
			var o *replay.Offence
			if !errors.As(err, &o) {
				t.Fatalf("no offence found, want %s", tt.rule)
			}
			if o.Rule != tt.rule || o.Rev != tt.rev || o.TaskID != tt.task || o.PoolID != "gpu" {
				t.Errorf("got %v, want rule %s at rev %d, task %q", o, tt.rule, tt.rev, tt.task)
			}
		})
	}
}

func timed(e park.Event, at park.Time) park.Event { e.At = at; return e }

func foreign(l *log) *log {
	l.step(submit("x", 1), start("x", 1, 1))
	for i := len(l.events) - 2; i < len(l.events); i++ {
		l.events[i].PoolID, l.events[i].EventID = "cpu", ""
	}
	return l
}

func TestReplayCountsEveryStartOverCapacity(t *testing.T) {
	l := (&log{}).step(submit("a", 8), start("a", 8, 1)).
		step(submit("b", 8), start("b", 8, 1)).
		step(submit("c", 1), start("c", 1, 1))
	p, err := replay.Run(limits, l.events)
	if err == nil {
		t.Fatal("no offence found")
	}
	if s := p.Summary(); s.StartsOverCapacity != 2 || s.MaxUsed != 17 || s.Offences != 2 || s.First.TaskID != "b" {
		t.Errorf("summary %+v", s)
	}
}

func TestLoweredCapacityIsLegalWhileTasksRun(t *testing.T) {
	l := (&log{}).step(submit("a", 8), start("a", 8, 1)).
		step(update(`{"maxUnits":{"from":10,"to":4}}`)).
		step(submit("b", 4), enqueue("b", 4)).
		step(complete("a", 8, 1), start("b", 4, 1))
	if _, err := replay.Run(limits, l.events); err != nil {
		t.Error(err)
	}
}

func TestRequeueMayExceedTheDepth(t *testing.T) {
	l := (&log{}).step(submit("a", 10), start("a", 10, 1)).
		step(submit("b", 1), enqueue("b", 1)).
		step(submit("c", 1), enqueue("c", 1)).
		step(ev(park.ActRequeue, "a", 10, 1)).
		step(start("a", 10, 2))
	p, err := replay.Run(limits, l.events)
	if err != nil {
		t.Error(err)
	}
	if p.Summary().MaxQueued != 3 {
		t.Errorf("max queued %d, want 3", p.Summary().MaxQueued)
	}
}

func TestUnsettledSubmissionAtTheEnd(t *testing.T) {
	_, err := replay.Run(limits, (&log{}).step(submit("a", 1)).events)
	var o *replay.Offence
	if !errors.As(err, &o) || o.Rule != replay.RuleLife || o.TaskID != "a" || o.Rev != 1 {
		t.Errorf("got %v", err)
	}
}

// TestReplayOfEveryTail cuts the legal log before every event. The rest must be without offence, and exact if no task
// was live at the cut.
func TestReplayOfEveryTail(t *testing.T) {
	all := lives().events
	for cut := 1; cut < len(all); cut++ {
		t.Run(strconv.Itoa(cut), func(t *testing.T) {
			before, err := replay.Run(limits, all[:cut])
			if err != nil && before.Summary().First.Detail[:9] != "submitted" {
				t.Fatal(err)
			}
			p, err := replay.Run(before.State().Limits, all[cut:])
			if err != nil {
				t.Error(err)
			}
			s := p.Summary()
			if !s.Partial {
				t.Error("the log is not seen as partial")
			}
			if s.Used != 0 || s.Queued != 0 || s.Running != 0 {
				t.Errorf("used %d, queued %d, running %d at the end", s.Used, s.Queued, s.Running)
			}
		})
	}
}

func TestReplayOfAPartialLogStillFindsFaults(t *testing.T) {
	l := &log{rev: 40}
	l.step(start("old", 8, 3)).step(submit("new", 4), start("new", 4, 1))
	p, err := replay.Run(limits, l.events)
	var o *replay.Offence
	if !errors.As(err, &o) || o.Rule != replay.RuleCapacity || o.TaskID != "new" {
		t.Errorf("got %v", err)
	}
	if p.Summary().Adopted != 1 {
		t.Errorf("adopted %d tasks, want 1", p.Summary().Adopted)
	}
}

func TestInitial(t *testing.T) {
	events := []park.Event{
		submit("a", 1),
		update(`{"maxUnits":{"from":24,"to":12}}`),
		update(`{"maxUnits":{"from":12,"to":16},"state":{"from":"active","to":"paused"}}`),
		update(`not json`),
	}
	now := replay.Limits{MaxUnits: 16, MaxQueueDepth: 7, State: park.Paused}
	want := replay.Limits{MaxUnits: 24, MaxQueueDepth: 7, State: park.Active}
	if d := cmp.Diff(want, replay.Initial(now, events)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestTimelineIsBoundedAndKeepsThePeaks(t *testing.T) {
	p := replay.New(replay.Limits{MaxUnits: 10, MaxQueueDepth: 10})
	p.KeepTimeline(50)
	l := &log{}
	for i := range 2000 {
		id, units := fmt.Sprint("t", i), int64(1)
		if i == 1234 {
			units = 9
		}
		l.step(submit(id, units), start(id, units, 1)).step(complete(id, units, 1))
	}
	for _, e := range l.events {
		if err := p.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	samples := p.Timeline()
	if len(samples) < 25 || len(samples) > 50 {
		t.Errorf("%d samples, want 25 to 50", len(samples))
	}
	var peak int64
	for i, s := range samples {
		peak = max(peak, s.MaxUsed)
		if i > 0 && !s.At.After(samples[i-1].At.Time) {
			t.Errorf("sample %d is not after the one before", i)
		}
	}
	if peak != 9 {
		t.Errorf("peak %d, want 9", peak)
	}
	if samples[0].At != at(1) || samples[len(samples)-1].Used != 0 {
		t.Errorf("first %+v, last %+v", samples[0], samples[len(samples)-1])
	}
}
