package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/park"
)

// windowUnits is the capacity of the pools that are watched from outside.
const windowUnits = 3

// windowCall is a call of one of the three kinds in a window.
type windowCall struct {
	kind  string // submit, lease or end
	task  string
	units int64
}

// windowState is the sequential pool that must explain the answers: the parked tasks in order and the running ones
// sorted, each as "task=units". It is a text, so that states can be compared.
type windowState struct{ parked, running string }

func addTask(list, task string, units int64) string {
	return list + task + "=" + strconv.FormatInt(units, 10) + " "
}

func sumUnits(list string) (sum int64) {
	for f := range strings.FieldsSeq(list) {
		_, n, _ := strings.Cut(f, "=")
		units, _ := strconv.ParseInt(n, 10, 64)
		sum += units
	}
	return sum
}

func removeTask(list, task string) (string, bool) {
	fields := strings.Fields(list)
	i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, task+"=") })
	if i < 0 {
		return list, false
	}
	rest := slices.Delete(fields, i, i+1)
	return strings.Join(append(rest, ""), " "), true
}

// takenAnswer is the answer to a submission that is parked at a position; 0 if a waiting lease takes the task at once.
// Of two concurrent submissions it tells which came first: without that there would be too many orders to check.
func takenAnswer(position int64) string { return "taken at " + strconv.FormatInt(position, 10) }

// step says whether a call may have had the answer, and what the pool is then.
func (l windowState) step(in windowCall, answer string) (bool, windowState) {
	switch in.kind {
	case "submit":
		l.parked = addTask(l.parked, in.task, in.units)
		last := int64(strings.Count(l.parked, " "))
		return answer == takenAnswer(last) || last == 1 && answer == takenAnswer(0), l
	case "lease":
		head, rest, waits := strings.Cut(l.parked, " ")
		task, _, _ := strings.Cut(head, "=")
		if !waits || sumUnits(head)+sumUnits(l.running) > windowUnits {
			return answer == "", l
		}
		runs := append(strings.Fields(l.running), head)
		slices.Sort(runs)
		return answer == task, windowState{parked: rest, running: strings.Join(append(runs, ""), " ")}
	default:
		var ran bool
		l.running, ran = removeTask(l.running, in.task)
		return ran && answer == "ended", l
	}
}

func windowModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return windowState{} },
		Step: func(state, input, output any) (bool, any) {
			ok, next := state.(windowState).step(input.(windowCall), output.(string))
			return ok, next
		},
	}
}

// TestLinearizable has a few clients call an engine at once, and looks for an order of their calls that explains every
// answer: a second opinion from outside, which trusts no rev and no event.
func TestLinearizable(t *testing.T) {
	c := proof.Begin(t, "porcupine")
	c.Target("windows", 20, 500, 20_000)
	seed := proof.SeedOr(rand.Uint64())
	c.Seed(strconv.FormatUint(seed, 10))
	for n := uint64(0); c.More("windows") && !c.Failed(); n++ {
		calls := runWindow(t, rand.New(rand.NewPCG(seed, n)))
		switch porcupine.CheckOperationsTimeout(windowModel(), calls, time.Minute) {
		case porcupine.Illegal:
			c.Broken("window %d: no order of the calls explains the answers: %+v", n, calls)
		case porcupine.Unknown:
			t.Errorf("window %d was too hard to judge: %+v", n, calls)
		case porcupine.Ok:
		}
		c.Add("windows", 1)
		c.Add("calls", len(calls))
	}
}

// runWindow returns the calls of three clients on a fresh pool.
func runWindow(t *testing.T, rng *rand.Rand) (calls []porcupine.Operation) {
	p := poolConfig("cpu", windowUnits, nil)
	p.Runtime = park.WebWorker
	b := openEngine(t, engine.Config{Pools: []engine.Pool{p}})
	defer b.closeNow()
	var mu sync.Mutex
	var clients sync.WaitGroup
	began := time.Now()
	for id := range 3 {
		own := rand.New(rand.NewPCG(rng.Uint64(), 0))
		clients.Go(func() {
			w := windowClient{harness: b, id: id, rng: own}
			for range 25 {
				call := porcupine.Operation{ClientId: id, Call: int64(time.Since(began))}
				call.Input, call.Output = w.next()
				call.Return = int64(time.Since(began))
				mu.Lock()
				calls = append(calls, call)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return calls
}

// windowClient is a client that submits, leases and ends tasks.
type windowClient struct {
	*harness
	id     int
	rng    *rand.Rand
	leases []park.Lease
	tasks  int
}

func (w *windowClient) next() (in windowCall, answer string) {
	ctx := context.Background()
	switch n := w.rng.IntN(5); {
	case n < 2:
		w.tasks++
		in = windowCall{"submit", fmt.Sprintf("t%d-%d", w.id, w.tasks), 1 + w.rng.Int64N(windowUnits)}
		r := w.trySubmit("cpu", park.Submission{TaskID: in.task, ResourceCost: park.Cost{Units: park.Units(in.units)}})
		if r.Err != nil {
			return in, r.Err.Error()
		}
		return in, takenAnswer(r.Accepted.Position)
	case n == 2 && len(w.leases) > 0:
		l := w.leases[0]
		w.leases = w.leases[1:]
		if err := w.EndLease(ctx, l.LeaseID, park.LeaseResult{Status: park.Completed}); err != nil {
			return windowCall{kind: "end", task: l.TaskID}, err.Error()
		}
		return windowCall{kind: "end", task: l.TaskID}, "ended"
	default:
		leases, err := w.Lease(ctx, "cpu", park.LeaseRequest{})
		if err != nil {
			return windowCall{kind: "lease"}, err.Error()
		}
		if len(leases) == 0 {
			return windowCall{kind: "lease"}, ""
		}
		w.leases = append(w.leases, leases...)
		return windowCall{kind: "lease"}, leases[0].TaskID
	}
}

// TestWindowsSeeWhatIsWrong plants answers that no pool with three units can give.
func TestWindowsSeeWhatIsWrong(t *testing.T) {
	submit := func(task string, units int64) windowCall { return windowCall{"submit", task, units} }
	lease := windowCall{kind: "lease"}
	type said struct {
		in     windowCall
		answer string
	}
	for name, tt := range map[string]struct {
		said []said
		want porcupine.CheckResult
	}{
		"right":         {[]said{{submit("a", 2), takenAnswer(1)}, {submit("b", 2), takenAnswer(2)}, {lease, "a"}, {lease, ""}, {windowCall{kind: "end", task: "a"}, "ended"}, {lease, "b"}}, porcupine.Ok},
		"over capacity": {[]said{{submit("a", 2), takenAnswer(1)}, {submit("b", 2), takenAnswer(2)}, {lease, "a"}, {lease, "b"}}, porcupine.Illegal},
		"out of order":  {[]said{{submit("a", 1), takenAnswer(1)}, {submit("b", 1), takenAnswer(2)}, {lease, "b"}}, porcupine.Illegal},
		"misplaced":     {[]said{{submit("a", 1), takenAnswer(1)}, {submit("b", 1), takenAnswer(1)}}, porcupine.Illegal},
		"kept back":     {[]said{{submit("a", 1), takenAnswer(1)}, {lease, ""}}, porcupine.Illegal},
		"ended twice":   {[]said{{submit("a", 1), takenAnswer(1)}, {lease, "a"}, {windowCall{kind: "end", task: "a"}, "ended"}, {windowCall{kind: "end", task: "a"}, "ended"}}, porcupine.Illegal},
	} {
		var calls []porcupine.Operation
		for i, s := range tt.said {
			calls = append(calls, porcupine.Operation{Call: int64(2 * i), Return: int64(2*i + 1), Input: s.in, Output: s.answer})
		}
		if got := porcupine.CheckOperationsTimeout(windowModel(), calls, time.Minute); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
