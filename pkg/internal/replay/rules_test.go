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

// withDetail adds a detail to an event.
func withDetail(e park.Event, detail string) park.Event {
	e.Detail = json.RawMessage(detail)
	return e
}

// withPriority returns a submission with a priority, of ten units.
func withPriority(task, class string) park.Event {
	return withDetail(submit(task, 10), `{"priority":"`+class+`"}`)
}

// withDeadline returns a submission with a deadline at the time of a rev.
func withDeadline(task string, rev int64) park.Event {
	return withDetail(submit(task, 10), fmt.Sprintf(`{"priority":"normal","deadline":%q}`, at(rev)))
}

func lost(task string, attempt int) park.Event {
	return withDetail(ev(park.ActRequeue, task, 10, attempt), `{"reason":"node_lost"}`)
}

func struck(task string, attempt, strike int, rest string) park.Event {
	return withDetail(ev(park.ActRequeue, task, 10, attempt), fmt.Sprintf(`{"reason":"exit_nonzero","strike":%d%s}`, strike, rest))
}

func resting(rev int64) string { return fmt.Sprintf(`,"notBefore":%q`, at(rev)) }

// oneOfEach returns a log in which a runs, and one task of each given class is parked, in this order.
func oneOfEach(classes ...string) *log {
	l := (&log{}).step(withPriority("a", "normal"), start("a", 10, 1))
	for i, class := range classes {
		id := string(rune('b' + i))
		l.step(withPriority(id, class), enqueue(id, 10))
	}
	return l
}

// retried is a log in which a, which may run three times, runs.
func retried() *log {
	return (&log{}).step(withDetail(submit("a", 10), `{"priority":"normal","maxAttempts":3}`), start("a", 10, 1))
}

// TestRulesOfTurnDeadlineAndRetry checks logs with priorities, deadlines and backoffs against the rules that follow
// from these.
func TestRulesOfTurnDeadlineAndRetry(t *testing.T) {
	next := func(task string) []park.Event { return []park.Event{complete("a", 10, 1), start(task, 10, 1)} }
	for name, tt := range map[string]struct {
		log  *log
		rule replay.Rule
	}{
		"the higher class first":                    {oneOfEach("low", "normal", "critical", "high").step(next("d")...), ""},
		"the lower class first":                     {oneOfEach("low", "normal").step(next("b")...), replay.RuleTurn},
		"in order of arrival":                       {oneOfEach("normal", "normal").step(next("b")...), ""},
		"against the order of arrival":              {oneOfEach("normal", "normal").step(next("c")...), replay.RuleTurn},
		"it starts at once though others wait":      {oneOfEach("normal").step(complete("a", 10, 1), withPriority("z", "normal"), start("z", 10, 1)), replay.RuleTurn},
		"a higher one starts at once":               {oneOfEach("normal").step(complete("a", 10, 1), withPriority("z", "high"), start("z", 10, 1)), ""},
		"one whose class is not told starts":        {oneOfEach("normal").step(complete("a", 10, 1), submit("z", 1), start("z", 1, 1)), replay.RuleLife},
		"no class is told":                          {(&log{}).step(submit("z", 1), start("z", 1, 1)), ""},
		"a lost run goes first":                     {oneOfEach("normal").step(lost("a", 1), start("a", 10, 2)), ""},
		"a lost run goes first, and did not":        {oneOfEach("normal").step(lost("a", 1), start("b", 10, 1)), replay.RuleTurn},
		"one that is too large holds up nobody":     {tooLarge().step(complete("a", 10, 1), withDetail(start("c", 2, 1), "")), ""},
		"one that is no longer too large goes":      {tooLarge().step(complete("a", 10, 1), update(`{"maxUnits":{"from":5,"to":10}}`), start("c", 2, 1)), replay.RuleTurn},
		"started before its deadline":               {parkedUntil(4).step(complete("b", 10, 1), start("a", 10, 1)), ""},
		"started at its deadline":                   {parkedUntil(3).step(complete("b", 10, 1), start("a", 10, 1)), replay.RuleDeadline},
		"expired at its deadline":                   {parkedUntil(3).step(ev(park.ActExpire, "a", 10, 0)), ""},
		"expired before its deadline":               {parkedUntil(4).step(ev(park.ActExpire, "a", 10, 0)), replay.RuleDeadline},
		"expired without a deadline":                {oneOfEach("normal").step(ev(park.ActExpire, "b", 10, 0)), replay.RuleDeadline},
		"expired after it ran":                      {parkedUntil(9).step(complete("b", 10, 1), start("a", 10, 1)).step(lost("a", 1)).step(ev(park.ActExpire, "a", 10, 1)), replay.RuleDeadline},
		"not expired at its deadline":               {parkedUntil(3).step(complete("b", 10, 1)), replay.RuleDeadline},
		"accepted after its deadline":               {(&log{}).step(withDeadline("a", 1), start("a", 10, 1)), replay.RuleDeadline},
		"retried":                                   {retried().step(struck("a", 1, 1, "")).step(start("a", 10, 2)), ""},
		"retried after its rest":                    {retried().step(struck("a", 1, 1, resting(3))).step(start("a", 10, 2)), ""},
		"retried before its rest was over":          {retried().step(struck("a", 1, 1, resting(4))).step(start("a", 10, 2)), replay.RuleRetry},
		"retried early, for the clock was set back": {retried().step(struck("a", 1, 1, resting(4))).step(withDetail(start("a", 10, 2), `{"early":"1s"}`)), ""},
		"one that rests holds up nobody":            {retried().step(struck("a", 1, 1, resting(9)), withPriority("b", "normal"), start("b", 10, 1)), ""},
		"a failed run goes last":                    {failedFirst().step(start("b", 10, 1)), ""},
		"a failed run goes last, and did not":       {failedFirst().step(start("a", 10, 2)), replay.RuleTurn},
		"a count is left out":                       {retried().step(struck("a", 1, 2, "")), replay.RuleRetry},
		"retried too often":                         {oneOfEach().step(struck("a", 1, 1, "")), replay.RuleRetry},
		"requeued for no loss":                      {oneOfEach().step(withDetail(ev(park.ActRequeue, "a", 10, 1), `{"reason":"exit_nonzero"}`)), replay.RuleRetry},
		"lost, and to rest":                         {oneOfEach().step(withDetail(ev(park.ActRequeue, "a", 10, 1), `{"reason":"node_lost","notBefore":"2026-01-01T00:00:09Z"}`)), replay.RuleRetry},
		"failed too early":                          {retried().step(ev(park.ActFail, "a", 10, 1)), replay.RuleRetry},
		"cancelled, and nobody asked":               {oneOfEach().step(ev(park.ActCancel, "a", 10, 1)), replay.RuleLife},
		"cancelled while leased":                    {(&log{}).step(withPriority("a", "low"), withDetail(start("a", 10, 1), `{"worker":"w"}`)).step(ev(park.ActCancel, "a", 10, 1)), ""},
		"completed though it was to stop":           {oneOfEach().step(update(`{"cancel":"a"}`)).step(complete("a", 10, 1)), replay.RuleLife},
		"requeued though it was to stop":            {oneOfEach().step(update(`{"cancel":"a"}`)).step(lost("a", 1)), replay.RuleLife},
		"another tenant's end":                      {oneOfEach().step(park.Event{Action: park.ActComplete, TaskID: "a", Units: 10, Attempt: 1, Tenant: "globex"}), replay.RuleTenant},
		"retried early, and not so much": {
			retried().step(struck("a", 1, 1, resting(5))).step(withDetail(start("a", 10, 2), `{"early":"1s"}`)), replay.RuleRetry,
		},
		"early without a rest":                 {(&log{}).step(withPriority("a", "low"), withDetail(start("a", 10, 1), `{"early":"1s"}`)), replay.RuleRetry},
		"a rest that was over before it began": {retried().step(struck("a", 1, 1, resting(1))), replay.RuleRetry},
		"a rest of more than an hour":          {retried().step(struck("a", 1, 1, resting(3603))), replay.RuleRetry},
		"expired for another reason":           {parkedUntil(3).step(withDetail(ev(park.ActExpire, "a", 10, 0), `{"reason":"timeout"}`)), replay.RuleLife},
		"cancelled for another reason":         {oneOfEach("low").step(withDetail(ev(park.ActCancel, "b", 10, 0), `{"reason":"timeout"}`)), replay.RuleLife},
		"parked in an attempt":                 {oneOfEach().step(withPriority("b", "low"), ev(park.ActEnqueue, "b", 10, 1)), replay.RuleAttempt},
		"parked on a node":                     {oneOfEach().step(withPriority("b", "low"), park.Event{Action: park.ActEnqueue, TaskID: "b", Units: 10, Tenant: "default", Node: "n"}), replay.RuleAttempt},
		"submitted on a node":                  {oneOfEach().step(park.Event{Action: park.ActSubmit, TaskID: "b", Units: 10, Tenant: "default", Node: "n"}), replay.RuleAttempt},
		"ends with no units":                   {oneOfEach().step(complete("a", 0, 1)), replay.RuleUnits},
		"a change of nothing":                  {oneOfEach().step(update("")), replay.RuleLimits},
		"a change to the same":                 {oneOfEach().step(update(`{"maxUnits":{"from":10,"to":10}}`)), replay.RuleLimits},
		"a change to no state":                 {oneOfEach().step(update(`{"state":{"from":"active","to":"odd"}}`)), replay.RuleLimits},
		"a change below zero":                  {oneOfEach().step(update(`{"maxQueueDepth":{"from":10,"to":-1}}`)), replay.RuleLimits},
		"a change of a task":                   {oneOfEach().step(park.Event{Action: park.ActUpdate, TaskID: "a", Detail: json.RawMessage(`{"cancel":"a"}`)}), replay.RuleLife},
		"lost in no known way":                 {oneOfEach().step(update(`{"resumed":{"tasks":"odd","maxUnits":10,"maxQueueDepth":10,"state":"active"}}`)), replay.RuleLimits},
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

// TestRefusals checks refusals against the state of the pool.
func TestRefusals(t *testing.T) {
	refused := func(task string, units int64, detail string) park.Event {
		return withDetail(ev(park.ActReject, task, units, 0), detail)
	}
	full := func() *log { return oneOfEach("normal", "normal") }
	for name, tt := range map[string]struct {
		log  *log
		just bool
	}{
		"full":                      {full().step(refused("z", 1, `{"code":"queue_full"}`)), true},
		"not full":                  {oneOfEach("normal").step(refused("z", 1, `{"code":"queue_full"}`)), false},
		"too large":                 {oneOfEach().step(refused("z", 11, `{"code":"cost_exceeds_pool"}`)), true},
		"not too large":             {oneOfEach().step(refused("z", 10, `{"code":"cost_exceeds_pool"}`)), false},
		"no capacity":               {oneOfEach().step(update(`{"maxUnits":{"from":10,"to":0}}`), refused("z", 1, `{"code":"capacity_zero"}`)), true},
		"some capacity":             {oneOfEach().step(refused("z", 1, `{"code":"capacity_zero"}`)), false},
		"draining":                  {oneOfEach().step(update(`{"state":{"from":"active","to":"draining"}}`), refused("z", 1, `{"code":"pool_draining"}`)), true},
		"not draining":              {oneOfEach().step(refused("z", 1, `{"code":"pool_draining"}`)), false},
		"exists":                    {oneOfEach().step(refused("", 1, `{"code":"task_exists","taskId":"a"}`)), true},
		"has existed":               {oneOfEach().step(complete("a", 10, 1)).step(refused("", 1, `{"code":"task_exists","taskId":"a"}`)), true},
		"exists as a tenant's own":  {(&log{}).step(submit("a@default", 1), start("a@default", 1, 1)).step(refused("", 1, `{"code":"task_exists","taskId":"a"}`)), true},
		"does not exist":            {oneOfEach().step(refused("", 1, `{"code":"task_exists","taskId":"b"}`)), false},
		"a deadline that is past":   {oneOfEach().step(refused("z", 1, `{"code":"deadline_past"}`)), true},
		"for no known reason":       {oneOfEach().step(refused("z", 1, `{"code":"odd"}`)), false},
		"without a reason":          {oneOfEach().step(refused("z", 1, ``)), false},
		"in an attempt":             {full().step(withDetail(ev(park.ActReject, "z", 1, 1), `{"code":"queue_full"}`)), false},
		"full, as far as one knows": {cut(oneOfEach("normal")).step(refused("z", 1, `{"code":"queue_full"}`)), true},
	} {
		if _, err := replay.Run(limits, tt.log.events); (err == nil) != tt.just {
			t.Errorf("%s: got %v", name, err)
		}
	}
	unsure := replay.Limits{MaxUnits: math.MaxInt64, MaxQueueDepth: math.MaxInt, Unsure: true}
	if _, err := replay.Run(unsure, oneOfEach("normal").step(refused("z", 1, `{"code":"queue_full"}`)).events); err != nil {
		t.Errorf("of limits that are not known: %v", err)
	}
}

// cut is a log without its first step.
func cut(l *log) *log {
	l.events = l.events[2:]
	return l
}

// TestLine: the parked tasks are returned in their order, including those that are too large, but none that waits for
// its backoff.
func TestLine(t *testing.T) {
	l := tooLarge().step(withPriority("d", "high"), enqueue("d", 10)).step(lost("a", 1))
	l.step(withDetail(submit("e", 1), `{"priority":"critical","maxAttempts":2}`), start("e", 1, 1))
	p, _ := replay.Run(replay.Limits{MaxUnits: 10, MaxQueueDepth: 10}, l.step(withDetail(ev(park.ActRequeue, "e", 1, 1), `{"reason":"x","strike":1`+resting(99)+`}`)).events)
	got := ""
	for k := range p.Line {
		got += k.TaskID
	}
	if want := "dabc"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// tooLarge is a log in which b and c are parked, and b costs more than the pool's present capacity.
func tooLarge() *log {
	l := oneOfEach("normal").step(withDetail(submit("c", 2), `{"priority":"normal"}`), enqueue("c", 2))
	return l.step(update(`{"maxUnits":{"from":10,"to":5}}`))
}

// parkedUntil is a log in which b runs and a is parked with a deadline.
func parkedUntil(rev int64) *log {
	return (&log{}).step(withPriority("b", "normal"), start("b", 10, 1)).step(withDeadline("a", rev), enqueue("a", 10))
}

// failedFirst is a log in which a run of a failed while b was parked.
func failedFirst() *log {
	return retried().step(withPriority("b", "normal"), enqueue("b", 10)).step(struck("a", 1, 1, ""))
}
