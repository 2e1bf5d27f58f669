package replay_test

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestOlder: details that an older parkd did not log are no offence, and what it did is still counted.
func TestOlder(t *testing.T) {
	failed := func(attempt int) park.Event {
		return withDetail(ev(park.ActRequeue, "a", 10, attempt), `{"reason":"exit_nonzero"}`)
	}
	away := func(attempt int) park.Event {
		return withDetail(ev(park.ActRequeue, "a", 10, attempt), `{"reason":"worker_lost"}`)
	}
	failedEnd := func(attempt int) park.Event { return ev(park.ActFail, "a", 10, attempt) }
	for name, tt := range map[string]struct {
		log  *log
		rule replay.Rule
	}{
		"a run that failed":  {retried().step(failed(1)).step(start("a", 10, 2), complete("a", 10, 2)), ""},
		"all runs failed":    {retried().step(failed(1), start("a", 10, 2)).step(failed(2), start("a", 10, 3)).step(failedEnd(3)), ""},
		"one more than may":  {retried().step(failed(1), start("a", 10, 2)).step(failed(2), start("a", 10, 3)).step(failed(3)), replay.RuleRetry},
		"ended too early":    {retried().step(failed(1), start("a", 10, 2)).step(failedEnd(2)), replay.RuleRetry},
		"told again since":   {retried().step(failed(1), start("a", 10, 2)).step(struck("a", 2, 2, "")), ""},
		"told wrongly since": {retried().step(failed(1), start("a", 10, 2)).step(struck("a", 2, 1, "")), replay.RuleRetry},
		"another passes while it rests": {
			retried().step(failed(1)).step(withPriority("b", "normal"), start("b", 10, 1)), "",
		},
		"a lost worker, counted":     {retried().step(away(1), start("a", 10, 2)).step(struck("a", 2, 2, "")), ""},
		"a lost worker, not counted": {retried().step(away(1), start("a", 10, 2)).step(struck("a", 2, 1, "")), ""},
		"a lost worker and failures": {retried().step(away(1), start("a", 10, 2)).step(failed(2), start("a", 10, 3)).step(failedEnd(3)), ""},
		"one more since": {
			retried().step(away(1), start("a", 10, 2)).step(struck("a", 2, 2, ""), start("a", 10, 3)).step(struck("a", 3, 3, "")), replay.RuleRetry,
		},
		"another passes what lost its worker": {
			retried().step(away(1)).step(withPriority("b", "normal"), start("b", 10, 1)), "",
		},
		"one whose class is not told starts": {oneOfEach("normal").step(complete("a", 10, 1), submit("z", 1), start("z", 1, 1)), ""},
		"a lost run is passed by nobody": {
			retried().step(lost("a", 1)).step(withPriority("b", "normal"), start("b", 10, 1)), replay.RuleTurn,
		},
	} {
		p := replay.New(limits)
		p.Older(at(100))
		for _, e := range tt.log.events {
			_ = p.Apply(e)
		}
		if got := p.Summary().First; (got == nil) != (tt.rule == "") || got != nil && got.Rule != tt.rule {
			t.Errorf("%s: got %v, want %q", name, got, tt.rule)
		}
	}
}

// TestTells: in a log that is known to have details, they are required from the first submission on.
func TestTells(t *testing.T) {
	p := replay.New(limits)
	p.Tells()
	for _, e := range (&log{}).step(submit("a", 1), start("a", 1, 1)).events {
		_ = p.Apply(e)
	}
	if got := p.Summary().First; got == nil || got.Rule != replay.RuleLife {
		t.Errorf("got %v", got)
	}
}
