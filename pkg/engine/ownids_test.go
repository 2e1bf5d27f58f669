package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// by returns a submission of a tenant. If it is bound, it is not to notice which ids others use.
func by(tenant string, bound bool, s park.Submission) park.Submission {
	s.Tenant, s.OwnIDs = tenant, bound
	return s
}

// taken submits and checks that the task has the result that it asks for, under the id where it is to be kept.
func (b *bench) taken(s park.Submission, kept, result string) {
	b.Helper()
	if a := b.submit("cpu", s); a.TaskID != s.TaskID {
		b.Errorf("%s of %s is answered as %s", s.TaskID, s.Tenant, a.TaskID)
	}
	if t := b.ended("cpu", kept); t.Tenant != s.Tenant || string(t.Result) != result {
		b.Errorf("%s is %s's, with the result %s: want that of %s, %s", kept, t.Tenant, t.Result, s.Tenant, result)
	}
}

func (b *bench) refused(s park.Submission, code park.Code) {
	b.Helper()
	if r := b.offer("cpu", s); r.Err == nil || r.Err.Code != code {
		b.Errorf("%s of %s is answered with %+v", s.TaskID, s.Tenant, r)
	}
}

// gone checks that there is no task with the id.
func (b *bench) gone(id string) {
	b.Helper()
	if t, err := b.Task(b.Context(), "cpu", id, 0); park.CodeOf(err) != park.TaskNotFound {
		b.Errorf("task %s: %+v %v", id, t, err)
	}
}

// TestOwnIDs: the id of another tenant's task, live, ended or forgotten, is free for who is bound to a tenant, and remains
// its own task's.
func TestOwnIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		c := engine.Config{Pools: []engine.Pool{telling(nil)}, Stores: map[park.Backend]store.Store{park.InMemory: s}}
		e := open(t, c)
		blue, red := by("blue", false, what("x", "blue's")), by("red", true, what("x", "red's"))
		other := by("red", true, what("x", "another"))
		e.submit("cpu", blue)
		e.refused(by("red", false, red), park.TaskExists) // not bound
		e.taken(red, "x@red", `"red's"`)                  // while blue's runs
		e.taken(red, "x@red", `"red's"`)                  // again
		e.refused(other, park.TaskExists)
		e.taken(by("green", true, what("x", "green's")), "x@green", `"green's"`) // after blue's has ended
		e.taken(blue, "x", `"blue's"`)
		check(t, e.events(park.AuditQuery{Changes: true}), 1)
		e.stop()

		e = open(t, c)
		if n, err := s.PruneTasks(t.Context(), park.At(time.Now().Add(time.Hour)), 1); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		e.gone("x") // blue's is forgotten
		e.taken(red, "x@red", `"red's"`)
		e.refused(other, park.TaskExists)
		e.gone("x")
		check(t, e.events(park.AuditQuery{Changes: true}), 1)
		e.taken(by("blue", true, what("x", "blue's second")), "x", `"blue's second"`)
		forget(t, s, 3)
		e.taken(other, "x", `"another"`) // nobody has the id
		e.taken(other, "x", `"another"`)
		e.gone("x@red")
		e.stop()
	})
}

// TestOwnIDsWithinAStep submits for several tenants at once.
func TestOwnIDsWithinAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(t, engine.Config{Pools: []engine.Pool{telling(nil)}})
		defer e.stop()
		results, err := e.Submit(t.Context(), "cpu", []park.Submission{
			by("blue", true, what("x", "blue's")), by("red", true, what("x", "red's")), by("red", true, what("x", "red's")),
			by("red", true, what("x", "another")), by("blue", true, what("x", "blue's")), by("red", false, what("x", "red's")),
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []park.Code{"", "", "", park.TaskExists, "", park.TaskExists} {
			if r := results[i]; r.Err == nil && (want != "" || r.TaskID != "x") || r.Err != nil && r.Err.Code != want {
				t.Errorf("submission %d is answered with %+v", i, r)
			}
		}
		if x, own := e.ended("cpu", "x"), e.ended("cpu", "x@red"); string(x.Result) != `"blue's"` || string(own.Result) != `"red's"` {
			t.Errorf("the results are %s and %s", x.Result, own.Result)
		}
		check(t, e.events(park.AuditQuery{Changes: true}), 1)
	})
}

// TestOwnIDsOnTwoNodes submits at a node that has not heard yet of what another one took.
func TestOwnIDsOnTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine.Config{
			Pools: []engine.Pool{telling(nil)}, Shared: []park.Backend{park.InMemory}, Quiet: true,
			Stores: map[park.Backend]store.Store{park.InMemory: memory.New()},
		}
		a := open(t, c)
		defer a.stop()
		b := open(t, c)
		defer b.stop()
		red := by("red", true, what("x", "red's"))
		a.submit("cpu", by("blue", true, what("x", "blue's")))
		b.submit("cpu", red)
		a.submit("cpu", red)
		a.taken(red, "x@red", `"red's"`)
		b.taken(by("blue", true, what("x", "blue's")), "x", `"blue's"`)
		a.refused(by("red", true, what("x", "another")), park.TaskExists)
		b.refused(by("blue", true, what("x", "another")), park.TaskExists)
		check(t, a.events(park.AuditQuery{Changes: true}), 1)
	})
}
