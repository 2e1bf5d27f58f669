package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// fakeLogs holds the logs of all attempts except missing, and records requests.
type fakeLogs struct {
	missing int // an attempt
	asked   string
}

func (s *fakeLogs) Log(_ context.Context, pool, task string, attempt int, q park.LogQuery, _ <-chan struct{}) (*park.Log, error) {
	s.asked = fmt.Sprintf("%s/%s %d follow %t", pool, task, attempt, q.Follow)
	if attempt == s.missing {
		return nil, park.Errorf(park.LogNotFound, "there is none")
	}
	return &park.Log{ReadCloser: io.NopCloser(strings.NewReader("text")), Attempt: attempt}, nil
}

// TestLogs: which log is opened, whether it is followed, what is said where there is none, and that nobody is kept waiting
// for a task whose log is closed.
func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := make(chan struct{})
		executor := park.ExecutorFunc(func(ctx context.Context, a park.Assignment) (any, error) {
			if a.TaskID == "twice" && a.Attempt == 1 {
				return nil, fmt.Errorf("once more")
			}
			select {
			case <-fails:
			case <-ctx.Done():
			}
			return nil, nil
		})
		logs := &fakeLogs{missing: -1}
		spec := func(id string, logs Logs) Pool {
			return Pool{
				PoolSpec: park.PoolSpec{
					ID: id, Kind: park.CPU, MaxUnits: 2, MaxQueueDepth: 10, Runtime: park.Native, Executor: "simulate",
					QueueBackend: park.InMemory, MailboxBackend: park.InMemory,
				},
				Executor: executor, Logs: logs,
			}
		}
		e, err := Open(t.Context(), Config{
			Pools: []Pool{spec("cpu", logs), spec("mute", nil)}, Stores: map[park.Backend]store.Store{park.InMemory: memory.New()},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = e.Close(t.Context()) }()
		submit := func(pool string, s park.Submission) {
			if r, err := e.Submit(t.Context(), pool, []park.Submission{s}); err != nil || r[0].Err != nil {
				t.Fatalf("%+v, %v", r, err)
			}
		}
		submit("mute", park.Submission{TaskID: "twice"})
		submit("cpu", park.Submission{TaskID: "twice", Retry: park.Retry{MaxAttempts: 2}})
		submit("cpu", park.Submission{TaskID: "once"})
		time.Sleep(time.Hour)
		submit("cpu", park.Submission{TaskID: "parked"})
		look := func(what string, pool, task string, q park.LogQuery, want string, code park.Code) {
			t.Helper()
			logs.asked = ""
			log, err := e.Log(t.Context(), pool, task, q)
			if logs.asked != want || code != "" && park.CodeOf(err) != code || (err != nil) != (code != "") {
				t.Errorf("%s: %q, not %q; %v, not %s", what, logs.asked, want, err, code)
			}
			if err == nil {
				if !e.hub.Joined() {
					t.Errorf("%s: the end of the task would not be heard of", what)
				}
				_ = log.Close()
			}
			if e.hub.Joined() {
				t.Errorf("%s: somebody still waits", what)
			}
		}
		follow := park.LogQuery{Follow: true}
		look("no pool", "nowhere", "once", follow, "", park.PoolNotFound)
		look("no task", "cpu", "never", follow, "", park.TaskNotFound)
		look("no sense", "cpu", "once", park.LogQuery{Attempt: -1}, "", park.InvalidRequest)
		look("no logs", "mute", "twice", park.LogQuery{}, "", park.LogNotFound)
		look("parked", "cpu", "parked", park.LogQuery{}, "", park.LogNotFound)
		look("too late an attempt", "cpu", "twice", park.LogQuery{Attempt: 3}, "", park.LogNotFound)
		look("the latest", "cpu", "twice", park.LogQuery{}, "cpu/twice 2 follow false", "")
		look("the latest, followed", "cpu", "twice", follow, "cpu/twice 2 follow true", "")
		look("the last, followed", "cpu", "twice", park.LogQuery{Attempt: 2, Follow: true}, "cpu/twice 2 follow true", "")
		look("the first, followed", "cpu", "twice", park.LogQuery{Attempt: 1, Follow: true}, "cpu/twice 1 follow false", "")
		logs.missing = 1
		look("what is not there", "cpu", "once", park.LogQuery{}, "cpu/once 1 follow false", park.LogNotFound)
		logs.missing = -1

		// Who follows waits for the run that is asked for.
		got := make(chan string, 3)
		wait := func(q park.LogQuery) {
			go func() {
				_, err := e.Log(t.Context(), "cpu", "parked", q)
				got <- fmt.Sprint(logs.asked, " ", park.CodeOf(err))
			}()
			synctest.Wait()
			if len(got) > 0 {
				t.Errorf("%+v of a parked task: %s", q, <-got)
			}
		}
		logs.asked = ""
		wait(follow)
		gone, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := e.Log(gone, "cpu", "parked", follow)
			left <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who went away while a task was parked is told %v", err)
		}
		fails <- struct{}{} // one of both ends, and the parked one starts
		if g := <-got; !strings.HasPrefix(g, "cpu/parked 1 follow true") {
			t.Errorf("when the task has started: %s", g)
		}
		wait(park.LogQuery{Attempt: 2, Follow: true})
		close(fails)
		if g := <-got; !strings.HasSuffix(g, string(park.LogNotFound)) {
			t.Errorf("when it has ended without a second run: %s", g)
		}
		look("of a task that has ended", "cpu", "once", follow, "cpu/once 1 follow false", "")
	})
}
