package replay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// telling adds a detail to an event.
func telling(e park.Event, detail string) park.Event {
	e.Detail = json.RawMessage(detail)
	return e
}

// ranked is a submission of a class, of ten units.
func ranked(task, class string) park.Event {
	return telling(submit(task, 10), `{"priority":"`+class+`"}`)
}

// until is a submission with a deadline at a rev.
func until(task string, rev int64) park.Event {
	return telling(submit(task, 10), fmt.Sprintf(`{"priority":"normal","deadline":%q}`, at(rev)))
}

func lost(task string, attempt int) park.Event {
	return telling(ev(park.ActRequeue, task, 10, attempt), `{"reason":"node_lost"}`)
}

func struck(task string, attempt, strike int, rest string) park.Event {
	return telling(ev(park.ActRequeue, task, 10, attempt), fmt.Sprintf(`{"reason":"exit_nonzero","strike":%d%s}`, strike, rest))
}

func resting(rev int64) string { return fmt.Sprintf(`,"notBefore":%q`, at(rev)) }

// busy is a log in which a runs and as many others are parked as there are classes, in this order.
func busy(classes ...string) *log {
	l := (&log{}).step(ranked("a", "normal"), start("a", 10, 1))
	for i, class := range classes {
		id := string(rune('b' + i))
		l.step(ranked(id, class), enqueue(id, 10))
	}
	return l
}

// retried is a log in which a may run three times and runs.
func retried() *log {
	return (&log{}).step(telling(submit("a", 10), `{"priority":"normal","maxAttempts":3}`), start("a", 10, 1))
}

// TestRulesOfTurnDeadlineAndRetry holds logs that tell of priorities, deadlines and rests against what follows from these.
func TestRulesOfTurnDeadlineAndRetry(t *testing.T) {
	next := func(task string) []park.Event { return []park.Event{complete("a", 10, 1), start(task, 10, 1)} }
	for name, tt := range map[string]struct {
		log  *log
		rule replay.Rule
	}{
		"the higher class first":                    {busy("low", "normal", "critical", "high").step(next("d")...), ""},
		"the lower class first":                     {busy("low", "normal").step(next("b")...), replay.RuleTurn},
		"in order of arrival":                       {busy("normal", "normal").step(next("b")...), ""},
		"against the order of arrival":              {busy("normal", "normal").step(next("c")...), replay.RuleTurn},
		"it starts at once though others wait":      {busy("normal").step(complete("a", 10, 1), ranked("z", "normal"), start("z", 10, 1)), replay.RuleTurn},
		"a higher one starts at once":               {busy("normal").step(complete("a", 10, 1), ranked("z", "high"), start("z", 10, 1)), ""},
		"one whose class is not told starts":        {busy("normal").step(complete("a", 10, 1), submit("z", 1), start("z", 1, 1)), replay.RuleLife},
		"no class is told":                          {(&log{}).step(submit("z", 1), start("z", 1, 1)), ""},
		"a lost run goes first":                     {busy("normal").step(lost("a", 1), start("a", 10, 2)), ""},
		"a lost run goes first, and did not":        {busy("normal").step(lost("a", 1), start("b", 10, 1)), replay.RuleTurn},
		"one that is too large holds up nobody":     {tooLarge().step(complete("a", 10, 1), telling(start("c", 2, 1), "")), ""},
		"one that is no longer too large goes":      {tooLarge().step(complete("a", 10, 1), update(`{"maxUnits":{"from":5,"to":10}}`), start("c", 2, 1)), replay.RuleTurn},
		"started before its deadline":               {parkedUntil(4).step(complete("b", 10, 1), start("a", 10, 1)), ""},
		"started at its deadline":                   {parkedUntil(3).step(complete("b", 10, 1), start("a", 10, 1)), replay.RuleDeadline},
		"expired at its deadline":                   {parkedUntil(3).step(ev(park.ActExpire, "a", 10, 0)), ""},
		"expired before its deadline":               {parkedUntil(4).step(ev(park.ActExpire, "a", 10, 0)), replay.RuleDeadline},
		"expired without a deadline":                {busy("normal").step(ev(park.ActExpire, "b", 10, 0)), replay.RuleDeadline},
		"expired after it ran":                      {parkedUntil(9).step(complete("b", 10, 1), start("a", 10, 1)).step(lost("a", 1)).step(ev(park.ActExpire, "a", 10, 1)), replay.RuleDeadline},
		"not expired at its deadline":               {parkedUntil(3).step(complete("b", 10, 1)), replay.RuleDeadline},
		"accepted after its deadline":               {(&log{}).step(until("a", 1), start("a", 10, 1)), replay.RuleDeadline},
		"retried":                                   {retried().step(struck("a", 1, 1, "")).step(start("a", 10, 2)), ""},
		"retried after its rest":                    {retried().step(struck("a", 1, 1, resting(3))).step(start("a", 10, 2)), ""},
		"retried before its rest was over":          {retried().step(struck("a", 1, 1, resting(4))).step(start("a", 10, 2)), replay.RuleRetry},
		"retried early, for the clock was set back": {retried().step(struck("a", 1, 1, resting(4))).step(telling(start("a", 10, 2), `{"early":"1s"}`)), ""},
		"one that rests holds up nobody":            {retried().step(struck("a", 1, 1, resting(9)), ranked("b", "normal"), start("b", 10, 1)), ""},
		"a failed run goes last":                    {failedFirst().step(start("b", 10, 1)), ""},
		"a failed run goes last, and did not":       {failedFirst().step(start("a", 10, 2)), replay.RuleTurn},
		"a count is left out":                       {retried().step(struck("a", 1, 2, "")), replay.RuleRetry},
		"retried too often":                         {busy().step(struck("a", 1, 1, "")), replay.RuleRetry},
		"requeued for no loss":                      {busy().step(telling(ev(park.ActRequeue, "a", 10, 1), `{"reason":"exit_nonzero"}`)), replay.RuleRetry},
		"lost, and to rest":                         {busy().step(telling(ev(park.ActRequeue, "a", 10, 1), `{"reason":"node_lost","notBefore":"2026-01-01T00:00:09Z"}`)), replay.RuleRetry},
		"failed too early":                          {retried().step(ev(park.ActFail, "a", 10, 1)), replay.RuleRetry},
		"cancelled, and nobody asked":               {busy().step(ev(park.ActCancel, "a", 10, 1)), replay.RuleLife},
		"cancelled while leased":                    {(&log{}).step(ranked("a", "low"), telling(start("a", 10, 1), `{"worker":"w"}`)).step(ev(park.ActCancel, "a", 10, 1)), ""},
		"completed though it was to stop":           {busy().step(update(`{"cancel":"a"}`)).step(complete("a", 10, 1)), replay.RuleLife},
		"requeued though it was to stop":            {busy().step(update(`{"cancel":"a"}`)).step(lost("a", 1)), replay.RuleLife},
		"another tenant's end":                      {busy().step(park.Event{Action: park.ActComplete, TaskID: "a", Units: 10, Attempt: 1, Tenant: "globex"}), replay.RuleTenant},
		"retried early, and not so much": {
			retried().step(struck("a", 1, 1, resting(5))).step(telling(start("a", 10, 2), `{"early":"1s"}`)), replay.RuleRetry,
		},
		"early without a rest":                 {(&log{}).step(ranked("a", "low"), telling(start("a", 10, 1), `{"early":"1s"}`)), replay.RuleRetry},
		"a rest that was over before it began": {retried().step(struck("a", 1, 1, resting(1))), replay.RuleRetry},
		"a rest of more than an hour":          {retried().step(struck("a", 1, 1, resting(3603))), replay.RuleRetry},
		"expired for another reason":           {parkedUntil(3).step(telling(ev(park.ActExpire, "a", 10, 0), `{"reason":"timeout"}`)), replay.RuleLife},
		"cancelled for another reason":         {busy("low").step(telling(ev(park.ActCancel, "b", 10, 0), `{"reason":"timeout"}`)), replay.RuleLife},
		"parked in an attempt":                 {busy().step(ranked("b", "low"), ev(park.ActEnqueue, "b", 10, 1)), replay.RuleAttempt},
		"parked on a node":                     {busy().step(ranked("b", "low"), park.Event{Action: park.ActEnqueue, TaskID: "b", Units: 10, Tenant: "default", Node: "n"}), replay.RuleAttempt},
		"submitted on a node":                  {busy().step(park.Event{Action: park.ActSubmit, TaskID: "b", Units: 10, Tenant: "default", Node: "n"}), replay.RuleAttempt},
		"ends with no units":                   {busy().step(complete("a", 0, 1)), replay.RuleUnits},
		"a change of nothing":                  {busy().step(update("")), replay.RuleLimits},
		"a change to the same":                 {busy().step(update(`{"maxUnits":{"from":10,"to":10}}`)), replay.RuleLimits},
		"a change to no state":                 {busy().step(update(`{"state":{"from":"active","to":"odd"}}`)), replay.RuleLimits},
		"a change below zero":                  {busy().step(update(`{"maxQueueDepth":{"from":10,"to":-1}}`)), replay.RuleLimits},
		"a change of a task":                   {busy().step(park.Event{Action: park.ActUpdate, TaskID: "a", Detail: json.RawMessage(`{"cancel":"a"}`)}), replay.RuleLife},
		"lost in no known way":                 {busy().step(update(`{"resumed":{"tasks":"odd","maxUnits":10,"maxQueueDepth":10,"state":"active"}}`)), replay.RuleLimits},
		"accepted with more than the pool has": {(&log{}).step(submit("a", 11), enqueue("a", 11)), replay.RuleCapacity},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := replay.Run(replay.Limits{MaxUnits: 10, MaxQueueDepth: 10}, tt.log.events)
			o, found := errors.AsType[*replay.Offence](err)
			if found != (tt.rule != "") || found && o.Rule != tt.rule {
				t.Errorf("found %v, want %q", err, tt.rule)
			}
		})
	}
}

// TestRefusals holds refusals against what was so.
func TestRefusals(t *testing.T) {
	refused := func(task string, units int64, detail string) park.Event {
		return telling(ev(park.ActReject, task, units, 0), detail)
	}
	full := func() *log { return busy("normal", "normal") }
	for name, tt := range map[string]struct {
		log  *log
		just bool
	}{
		"full":                      {full().step(refused("z", 1, `{"code":"queue_full"}`)), true},
		"not full":                  {busy("normal").step(refused("z", 1, `{"code":"queue_full"}`)), false},
		"too large":                 {busy().step(refused("z", 11, `{"code":"cost_exceeds_pool"}`)), true},
		"not too large":             {busy().step(refused("z", 10, `{"code":"cost_exceeds_pool"}`)), false},
		"no capacity":               {busy().step(update(`{"maxUnits":{"from":10,"to":0}}`), refused("z", 1, `{"code":"capacity_zero"}`)), true},
		"some capacity":             {busy().step(refused("z", 1, `{"code":"capacity_zero"}`)), false},
		"draining":                  {busy().step(update(`{"state":{"from":"active","to":"draining"}}`), refused("z", 1, `{"code":"pool_draining"}`)), true},
		"not draining":              {busy().step(refused("z", 1, `{"code":"pool_draining"}`)), false},
		"exists":                    {busy().step(refused("", 1, `{"code":"task_exists","taskId":"a"}`)), true},
		"has existed":               {busy().step(complete("a", 10, 1)).step(refused("", 1, `{"code":"task_exists","taskId":"a"}`)), true},
		"exists as a tenant's own":  {(&log{}).step(submit("a@default", 1), start("a@default", 1, 1)).step(refused("", 1, `{"code":"task_exists","taskId":"a"}`)), true},
		"does not exist":            {busy().step(refused("", 1, `{"code":"task_exists","taskId":"b"}`)), false},
		"a deadline that is past":   {busy().step(refused("z", 1, `{"code":"deadline_past"}`)), true},
		"for no known reason":       {busy().step(refused("z", 1, `{"code":"odd"}`)), false},
		"without a reason":          {busy().step(refused("z", 1, ``)), false},
		"in an attempt":             {full().step(telling(ev(park.ActReject, "z", 1, 1), `{"code":"queue_full"}`)), false},
		"full, as far as one knows": {cut(busy("normal")).step(refused("z", 1, `{"code":"queue_full"}`)), true},
	} {
		if _, err := replay.Run(limits, tt.log.events); (err == nil) != tt.just {
			t.Errorf("%s: got %v", name, err)
		}
	}
	unsure := replay.Limits{MaxUnits: math.MaxInt64, MaxQueueDepth: math.MaxInt, Unsure: true}
	if _, err := replay.Run(unsure, busy("normal").step(refused("z", 1, `{"code":"queue_full"}`)).events); err != nil {
		t.Errorf("of limits that are not known: %v", err)
	}
}

// cut is a log without its first step.
func cut(l *log) *log {
	l.events = l.events[2:]
	return l
}

// TestLine: the parked tasks are told in their order, also those that are too large, and none that rests.
func TestLine(t *testing.T) {
	l := tooLarge().step(ranked("d", "high"), enqueue("d", 10)).step(lost("a", 1))
	l.step(telling(submit("e", 1), `{"priority":"critical","maxAttempts":2}`), start("e", 1, 1))
	p, _ := replay.Run(replay.Limits{MaxUnits: 10, MaxQueueDepth: 10}, l.step(telling(ev(park.ActRequeue, "e", 1, 1), `{"reason":"x","strike":1`+resting(99)+`}`)).events)
	got := ""
	for k := range p.Line {
		got += k.TaskID
	}
	if want := "dabc"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// tooLarge is a log in which b and c are parked, of which b costs more than the pool has now.
func tooLarge() *log {
	l := busy("normal").step(telling(submit("c", 2), `{"priority":"normal"}`), enqueue("c", 2))
	return l.step(update(`{"maxUnits":{"from":10,"to":5}}`))
}

// parkedUntil is a log in which b runs and a is parked with a deadline.
func parkedUntil(rev int64) *log {
	return (&log{}).step(ranked("b", "normal"), start("b", 10, 1)).step(until("a", rev), enqueue("a", 10))
}

// failedFirst is a log in which a run of a has failed while b was parked.
func failedFirst() *log {
	return retried().step(ranked("b", "normal"), enqueue("b", 10)).step(struck("a", 1, 1, ""))
}
