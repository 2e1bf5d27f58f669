package sim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// These tests check the judge: they alter one thing in the evidence of a correct history, and the judge must name the
// broken guarantee.

// record is the evidence of a history.
type record struct {
	seed   uint64
	scene  setup
	pieces []evidence
	end    time.Duration
}

func recorded(t *testing.T, seed uint64) record {
	t.Helper()
	var r record
	result, j := runHistory(Options{Seed: seed}, func(e evidence) { r.pieces = append(r.pieces, e) })
	if result.Err != nil {
		t.Fatalf("seed %d: %v", seed, result.Err)
	}
	r.seed, r.scene, r.end = seed, j.setup, result.Lasted
	return r
}

// judged runs a judge on the evidence.
func (r record) judged() *Violation {
	j := newJudge(r.scene)
	for _, e := range r.pieces {
		j.consider(e)
	}
	j.finish(r.end)
	return j.broken
}

// copied returns a copy of the evidence whose steps share no slice with r's.
func (r record) copied() record {
	r.pieces = slices.Clone(r.pieces)
	for i := range r.pieces {
		if s, ok := r.pieces[i].what.(step); ok {
			s.Step = copyOf(s.Step)
			r.pieces[i].what = s
		}
	}
	return r
}

// insert adds an item before the one at an index, at its time.
func (r *record) insert(at int, what any) bool {
	r.pieces = slices.Insert(slices.Clone(r.pieces), at, evidence{r.pieces[at].at, what})
	return true
}

// drop removes an item.
func (r *record) drop(at int) bool {
	r.pieces = slices.Delete(slices.Clone(r.pieces), at, at+1)
	return true
}

// find alters the first item of a kind that can be altered.
func find[T any](alter func(r *record, at int, what *T) bool) func(*record) bool {
	return func(r *record) bool {
		for i := range r.pieces {
			if w, ok := r.pieces[i].what.(T); ok && alter(r, i, &w) {
				return true
			}
		}
		return false
	}
}

// each is find for alterations of the item alone.
func each[T any](alter func(what *T) bool) func(*record) bool {
	return find(func(r *record, at int, what *T) bool {
		ok := alter(what)
		if ok {
			r.pieces[at].what = *what
		}
		return ok
	})
}

// atEvent alters the first event with an action, and its step.
func atEvent(a park.Action, alter func(c *cut) bool) func(*record) bool {
	return find(func(r *record, at int, s *step) bool {
		whole, pieces := s.Step, r.pieces
		for i := range whole.Events {
			if whole.Events[i].Action != a {
				continue
			}
			r.pieces = pieces
			s.Step = copyOf(whole)
			r.pieces[at].what = *s
			c := &cut{record: r, at: at, step: s, n: i, event: &s.Events[i]}
			for k := range s.Updates {
				if s.Updates[k].TaskID == c.event.TaskID {
					c.row = &s.Updates[k].State
				}
			}
			for k := range s.Inserts {
				if s.Inserts[k].TaskID == c.event.TaskID {
					c.row, c.spec = &s.Inserts[k].State, &s.Inserts[k].Spec
				}
			}
			if alter(c) {
				return true
			}
		}
		r.pieces, s.Step = pieces, whole
		r.pieces[at].what = *s
		return false
	})
}

// cut is the place at which a step is altered.
type cut struct {
	*record
	at    int
	step  *step
	n     int
	event *park.Event
	row   *ledger.State
	spec  *ledger.Spec // of a submission
}

// mail returns the index of the message about the event; -1 if there is none.
func (c *cut) mail() int {
	for i := c.at - 1; i >= 0; i-- {
		if m, ok := c.pieces[i].what.(messageStored); ok && m.TaskID == c.event.TaskID {
			return i
		}
		if _, ok := c.pieces[i].what.(step); ok {
			return -1
		}
	}
	return -1
}

// becomes changes the event, its row and its message to another end.
func (c *cut) becomes(a park.Action, reason string) bool {
	c.event.Action, c.event.Detail = a, nil
	if reason != "" {
		c.event.Detail = []byte(`{"reason":"` + reason + `"}`)
	}
	c.row.Status, c.row.Reason = replay.StatusOf(a), reason
	if i := c.mail(); i >= 0 {
		m := c.pieces[i].what.(messageStored)
		m.Status, m.Reason = c.row.Status, reason
		c.pieces[i].what = m
	}
	return true
}

// ask changes the client's submission throughout the history.
func (c *cut) ask(change func(*park.Submission)) {
	for i := range c.pieces {
		o, ok := c.pieces[i].what.(submitted)
		if ok && (o.sub.TaskID == c.event.TaskID || string(o.sub.Payload) == string(c.spec.Payload)) {
			change(&o.sub)
			c.pieces[i].what = o
		}
	}
}

// doctored is an alteration of evidence, with the guarantees that it breaks, one of which must be named.
type doctored struct {
	name    string
	promise string
	alter   func(*record) bool // false if the history has nothing to alter
}

// someHistories are enough for every alteration.
const someHistories = 40

func TestDoctored(t *testing.T) {
	var histories []record
	history := func(n int) record {
		for len(histories) <= n {
			r := recorded(t, uint64(1+len(histories)))
			if v := r.judged(); v != nil {
				t.Fatalf("seed %d, not altered: %v", r.seed, v)
			}
			histories = append(histories, r)
		}
		return histories[n].copied()
	}
	cases := slices.Concat(doctoredEvents(), doctoredEnds(), doctoredRows(), doctoredMail(), doctoredAnswers(), doctoredLives())
	if len(cases) < 100 {
		t.Errorf("there are %d", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for n := range someHistories {
				r := history(n)
				if !c.alter(&r) {
					continue
				}
				v := r.judged()
				switch {
				case v == nil:
					t.Fatalf("seed %d: nobody objects", r.seed)
				case !slices.Contains(strings.Split(c.promise, "|"), v.Promise):
					t.Fatalf("seed %d: the promise should be %q: %v", r.seed, c.promise, v)
				}
				return
			}
			t.Fatalf("%d histories have nothing of that kind", someHistories)
		})
	}
}
