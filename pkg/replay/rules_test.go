package replay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/replay"
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
		"accepted with more than the pool has":      {(&log{}).step(submit("a", 11), enqueue("a", 11)), replay.RuleCapacity},
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
