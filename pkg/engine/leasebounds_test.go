package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestBoundsOfLeases: what a worker may ask for and say, to the last byte.
func TestBoundsOfLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &unreadable{Store: memory.New()}
		b := openEngine(t, engine.Config{
			Pools:  []engine.Pool{leasedPool(100), poolConfig("cpu", 1, sleepExecutor())},
			Stores: map[park.Backend]store.Store{park.InMemory: u},
		})
		defer b.closeNow()
		ctx := t.Context()
		is := func(what string, err error, code park.Code) {
			t.Helper()
			if code == "" && err != nil || code != "" && park.CodeOf(err) != code {
				t.Errorf("%s: %v, not %q", what, err, code)
			}
		}
		for i := range 8 {
			b.submit("remote", withID(fmt.Sprint(i), park.Submission{TimeoutSecs: 90}))
		}
		second := park.Duration(time.Second)
		leases := make([]park.Lease, 0, 8)
		for _, c := range []struct {
			pool string
			r    park.LeaseRequest
			code park.Code
			n    int
		}{
			{"nowhere", park.LeaseRequest{}, park.PoolNotFound, 0},
			{"cpu", park.LeaseRequest{}, park.PoolNotLeased, 0},
			{"remote", park.LeaseRequest{Max: -1}, park.InvalidRequest, 0},
			{"remote", park.LeaseRequest{Max: 1001}, park.InvalidRequest, 0},
			{"remote", park.LeaseRequest{Wait: -1}, park.InvalidRequest, 0},
			{"remote", park.LeaseRequest{TTL: second - 1}, park.InvalidRequest, 0},
			{"remote", park.LeaseRequest{Worker: strings.Repeat("w", park.MaxNameLength+1)}, park.InvalidRequest, 0},
			{"remote", park.LeaseRequest{}, "", 1},
			{"remote", park.LeaseRequest{Worker: "w1"}, "", 1},
			{"remote", park.LeaseRequest{Max: 1000}, "", 6},
			{"remote", park.LeaseRequest{Max: 1, Wait: second}, "", 0},
		} {
			got, err := b.Lease(ctx, c.pool, c.r)
			is(fmt.Sprintf("lease %+v", c.r), err, c.code)
			if len(got) != c.n || err == nil && got == nil {
				t.Errorf("lease %+v: %d leases, %#v", c.r, len(got), got)
			}
			leases = append(leases, got...)
		}
		for _, l := range leases {
			if l.TimeoutSecs != 90 || l.Tenant != park.DefaultTenant || l.PoolID != "remote" {
				t.Errorf("%+v", l)
			}
		}
		id := func(i int) string { return leases[i].LeaseID }
		zero, one, below, above := 0.0, 1.0, -0.1, 1.1
		for _, c := range []struct {
			id   string
			r    park.KeepRequest
			code park.Code
		}{
			{"remote.1.00.x", park.KeepRequest{}, park.LeaseNotFound},
			{"what", park.KeepRequest{}, park.LeaseNotFound},
			{id(0), park.KeepRequest{TTL: second - 1}, park.InvalidRequest},
			{id(0), park.KeepRequest{Progress: &below}, park.InvalidRequest},
			{id(0), park.KeepRequest{Progress: &above}, park.InvalidRequest},
			{id(0), park.KeepRequest{Progress: &zero}, ""},
			{id(0), park.KeepRequest{Progress: &one, TTL: second}, ""},
		} {
			got, err := b.KeepLease(ctx, c.id, c.r)
			is(fmt.Sprintf("keep %+v", c.r), err, c.code)
			if err == nil && got.LeaseID != c.id || err != nil && got != (park.Kept{}) {
				t.Errorf("kept %+v", got)
			}
		}
		is("release what is none", b.ReleaseLease(ctx, "what", park.LeaseRelease{}), park.LeaseNotFound)
		is("say too much", b.ReleaseLease(ctx, id(0), park.LeaseRelease{Message: strings.Repeat("m", 4<<10+1)}), park.InvalidRequest)
		is("release", b.ReleaseLease(ctx, id(0), park.LeaseRelease{Message: strings.Repeat("m", 4<<10)}), "")
		is("release twice", b.ReleaseLease(ctx, id(0), park.LeaseRelease{}), park.LeaseLost)
		u.failing.Store(true)
		is("release, with a store that cannot be read", b.ReleaseLease(ctx, id(0), park.LeaseRelease{}), park.StorageUnavailable)
		u.failing.Store(false)
		reason, message := strings.Repeat("r", park.MaxNameLength), strings.Repeat("m", park.MaxMessage)
		for i, c := range []struct {
			r    park.LeaseResult
			code park.Code
			want string
		}{
			{park.LeaseResult{}, park.InvalidRequest, ""},
			{park.LeaseResult{Status: park.Dropped}, park.InvalidRequest, ""},
			{park.LeaseResult{Status: park.Failed, Reason: reason + "r"}, park.InvalidRequest, ""},
			{park.LeaseResult{Status: park.Failed, Message: message + "m"}, park.InvalidRequest, ""},
			{park.LeaseResult{Status: park.Failed, Message: "\x00"}, park.InvalidRequest, ""},
			{park.LeaseResult{Status: park.Failed, Reason: reason, Message: message}, "", reason},
			{park.LeaseResult{Status: park.Failed}, "", park.ReasonExecutorError},
			{park.LeaseResult{Status: park.Completed}, "", ""},
		} {
			at := max(1, i-3)
			is(fmt.Sprintf("end %d", i), b.EndLease(ctx, id(at), c.r), c.code)
			if c.code != "" {
				continue
			}
			if got := b.awaitTask("remote", leases[at].TaskID); got.Status != c.r.Status || got.Reason != c.want || got.Message != c.r.Message {
				t.Errorf("end %d: %+v", i, got)
			}
			is("end as another", b.EndLease(ctx, id(at), park.LeaseResult{Status: park.Completed}), map[park.Status]park.Code{park.Failed: park.LeaseLost}[c.r.Status])
		}
		is("end what is none", b.EndLease(ctx, "what", park.LeaseResult{Status: park.Completed}), park.LeaseNotFound)
	})
}

// TestLeasesOfEndedCalls: what is leased for a call whose client goes is given back, and a call that waits in vain says so.
func TestLeasesOfEndedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(5)}})
		defer b.closeNow()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 3 {
			if l, err := b.Lease(gone, "remote", park.LeaseRequest{Wait: park.Duration(time.Minute)}); err == nil {
				t.Errorf("leased %+v for nobody", l)
			}
		}
		synctest.Wait()
		if a := b.submit("remote", withID("a", park.Submission{})); a.Status != park.Queued {
			t.Errorf("when all have gone: %+v", a)
		}
		// Those who wait are served in their order, and each once.
		got := make(chan string, 3)
		l := b.lease(park.LeaseRequest{})
		if len(l) != 1 {
			t.Fatalf("leased %+v", l)
		}
		for i := range 3 {
			go func() {
				l := b.lease(park.LeaseRequest{Max: 2, Wait: park.Duration(20 * time.Second)})
				s := fmt.Sprint(i)
				for _, one := range l {
					s += " " + one.TaskID
				}
				got <- s
			}()
			synctest.Wait()
		}
		if _, err := b.Submit(t.Context(), "remote", []park.Submission{
			withID("b", park.Submission{}), withID("c", park.Submission{}), withID("d", park.Submission{}),
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.submit("remote", withID("e", park.Submission{}))
		served := map[string]bool{<-got: true, <-got: true, <-got: true}
		if !served["0 b c"] || !served["1 d"] || !served["2 e"] {
			t.Errorf("served %v", served)
		}
	})
}

// TestLeaseOfTheLastMoment: a task that is leased to a worker while it goes comes back at once. A worker that is still there
// when its time is over gets what is leased to it, or is told that it is not known.
func TestLeaseOfTheLastMoment(t *testing.T) {
	for name, c := range map[string]struct {
		goes bool          // the worker
		slow time.Duration // the step
		code park.Code
		n    int // leases
	}{
		"the worker goes": {goes: true, slow: 2 * time.Second, code: park.Internal},
		"a slow store":    {slow: 2 * time.Second, n: 1},
		"one that hangs":  {slow: time.Minute, code: park.OutcomeUnknown},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := &contendedStore{}
			b := openContended(t, m, leasedPool(2))
			defer b.closeNow()
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			type answer struct {
				leases []park.Lease
				err    error
			}
			got := make(chan answer)
			go func() {
				l, err := b.Lease(ctx, "remote", park.LeaseRequest{Wait: park.Duration(time.Second)})
				got <- answer{l, err}
			}()
			synctest.Wait()
			m.startContention(nil, func(*store.Step, int) error {
				time.Sleep(c.slow)
				return nil
			})
			go b.trySubmit("remote", withID("a", park.Submission{}))
			synctest.Wait()
			if c.goes {
				hangUp()
			}
			a := <-got
			if len(a.leases) != c.n || c.code == "" && a.err != nil || c.code != "" && park.CodeOf(a.err) != c.code {
				t.Errorf("%s: %d leases, %v", name, len(a.leases), a.err)
			}
			m.startContention(nil, nil)
			time.Sleep(c.slow + time.Second)
			want := " submit start requeue"
			if c.n > 0 {
				want = " submit start"
			}
			if life := b.actions("a"); life != want {
				t.Errorf("%s: life is%s, not%s", name, life, want)
			}
		})
	}
}
