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

// withTenant returns a submission of a tenant. If bound is set, the tenant must not learn the ids of others.
func withTenant(tenant string, bound bool, s park.Submission) park.Submission {
	s.Tenant, s.OwnIDs = tenant, bound
	return s
}

// checkStored submits a task and checks its result, and that it is kept under the given id.
func (b *harness) checkStored(s park.Submission, kept, result string) {
	b.Helper()
	if a := b.submit("cpu", s); a.TaskID != s.TaskID {
		b.Errorf("%s of %s is answered as %s", s.TaskID, s.Tenant, a.TaskID)
	}
	if t := b.awaitTask("cpu", kept); t.Tenant != s.Tenant || string(t.Result) != result {
		b.Errorf("%s is %s's, with the result %s: want that of %s, %s", kept, t.Tenant, t.Result, s.Tenant, result)
	}
}

func (b *harness) checkRefused(s park.Submission, code park.Code) {
	b.Helper()
	if r := b.trySubmit("cpu", s); r.Err == nil || r.Err.Code != code {
		b.Errorf("%s of %s is answered with %+v", s.TaskID, s.Tenant, r)
	}
}

// checkMissing checks that there is no task with the id.
func (b *harness) checkMissing(id string) {
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
		c := engine.Config{Pools: []engine.Pool{echoPool(nil)}, Stores: map[park.Backend]store.Store{park.InMemory: s}}
		e := openEngine(t, c)
		blue, red := withTenant("blue", false, echoTask("x", "blue's")), withTenant("red", true, echoTask("x", "red's"))
		other := withTenant("red", true, echoTask("x", "another"))
		e.submit("cpu", blue)
		e.checkRefused(withTenant("red", false, red), park.TaskExists) // not bound
		e.checkStored(red, "x@red", `"red's"`)                         // while blue's runs
		e.checkStored(red, "x@red", `"red's"`)                         // again
		e.checkRefused(other, park.TaskExists)
		e.checkStored(withTenant("green", true, echoTask("x", "green's")), "x@green", `"green's"`) // after blue's has ended
		e.checkStored(blue, "x", `"blue's"`)
		checkLog(t, e.events(park.AuditQuery{Changes: true}), 1)
		e.closeNow()

		e = openEngine(t, c)
		if n, err := s.PruneTasks(t.Context(), park.At(time.Now().Add(time.Hour)), 1); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		e.checkMissing("x") // blue's is forgotten
		e.checkStored(red, "x@red", `"red's"`)
		e.checkRefused(other, park.TaskExists)
		e.checkMissing("x")
		checkLog(t, e.events(park.AuditQuery{Changes: true}), 1)
		e.checkStored(withTenant("blue", true, echoTask("x", "blue's second")), "x", `"blue's second"`)
		pruneTasks(t, s, 3)
		e.checkStored(other, "x", `"another"`) // nobody has the id
		e.checkStored(other, "x", `"another"`)
		e.checkMissing("x@red")
		e.closeNow()
	})
}

// TestOwnIDsWithinAStep submits for several tenants at once.
func TestOwnIDsWithinAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openEngine(t, engine.Config{Pools: []engine.Pool{echoPool(nil)}})
		defer e.closeNow()
		results, err := e.Submit(t.Context(), "cpu", []park.Submission{
			withTenant("blue", true, echoTask("x", "blue's")), withTenant("red", true, echoTask("x", "red's")), withTenant("red", true, echoTask("x", "red's")),
			withTenant("red", true, echoTask("x", "another")), withTenant("blue", true, echoTask("x", "blue's")), withTenant("red", false, echoTask("x", "red's")),
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []park.Code{"", "", "", park.TaskExists, "", park.TaskExists} {
			if r := results[i]; r.Err == nil && (want != "" || r.TaskID != "x") || r.Err != nil && r.Err.Code != want {
				t.Errorf("submission %d is answered with %+v", i, r)
			}
		}
		if x, own := e.awaitTask("cpu", "x"), e.awaitTask("cpu", "x@red"); string(x.Result) != `"blue's"` || string(own.Result) != `"red's"` {
			t.Errorf("the results are %s and %s", x.Result, own.Result)
		}
		checkLog(t, e.events(park.AuditQuery{Changes: true}), 1)
	})
}

// TestOwnIDsOnTwoNodes submits at a node that has not heard yet of what another one took.
func TestOwnIDsOnTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine.Config{
			Pools: []engine.Pool{echoPool(nil)}, Shared: []park.Backend{park.InMemory}, Quiet: true,
			Stores: map[park.Backend]store.Store{park.InMemory: memory.New()},
		}
		a := openEngine(t, c)
		defer a.closeNow()
		b := openEngine(t, c)
		defer b.closeNow()
		red := withTenant("red", true, echoTask("x", "red's"))
		a.submit("cpu", withTenant("blue", true, echoTask("x", "blue's")))
		b.submit("cpu", red)
		a.submit("cpu", red)
		a.checkStored(red, "x@red", `"red's"`)
		b.checkStored(withTenant("blue", true, echoTask("x", "blue's")), "x", `"blue's"`)
		a.checkRefused(withTenant("red", true, echoTask("x", "another")), park.TaskExists)
		b.checkRefused(withTenant("blue", true, echoTask("x", "another")), park.TaskExists)
		checkLog(t, a.events(park.AuditQuery{Changes: true}), 1)
	})
}
