package lot_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

var update = flag.Bool("update", false, "write what happens into the scenarios")

// TestScenarios plays testdata/*.txt. A line that begins with > is done in one step, its operations being
// separated by semicolons; the indented lines below it are what must happen.
//
//	> at 2s; submit big units=6 high; finish small
//	  submit big 6
//	  enqueue big 6 at 1
//	  = units 2/8, running a, parked big
//
// Operations: submit ID [units=N] [bytes=N] [low|normal|high|critical] [by=2s] [attempts=N] [backoff=2s] [digest=N]; finish,
// fail, requeue ID [attempt=N]; cancel ID; lease [max=N] [bytes=N] [ttl=2s]; keep, complete ID [attempt=N] (of a lease);
// set [units=N] [depth=N] [active|paused|draining]; rollback (takes the step back); at T (the time since the start).
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// scenario is the pool of a scenario file.
type scenario struct {
	*testing.T
	lot      *lot.Lot
	now      lot.Instant
	requests []lot.LeaseRequest
	out      bytes.Buffer
	rollback bool
	ids      []string
}

func start() time.Time { return time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC) }

func play(t *testing.T, text string) string {
	s := &scenario{T: t}
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), ">")
		switch {
		case ok && s.lot == nil:
			s.newPool(strings.Fields(command))
			s.out.WriteString(line)
		case ok:
			s.out.WriteString(line)
			s.step(command)
		case !strings.HasPrefix(line, "  "):
			s.out.WriteString(line)
		}
	}
	return s.out.String()
}

// args are the words and the name=value pairs of an operation.
type args struct {
	*testing.T
	words []string
	named map[string]string
}

func (s *scenario) parse(fields []string) args {
	a := args{s.T, nil, map[string]string{}}
	for _, f := range fields {
		if name, value, ok := strings.Cut(f, "="); ok {
			a.named[name] = value
		} else {
			a.words = append(a.words, f)
		}
	}
	return a
}

func (a args) int(name string, byDefault int64) int64 {
	text, ok := a.named[name]
	if !ok {
		return byDefault
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		a.Fatal(err)
	}
	return n
}

func (a args) duration(name string) time.Duration {
	text, ok := a.named[name]
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		a.Fatal(err)
	}
	return d
}

func (s *scenario) newPool(fields []string) {
	a := s.parse(fields)
	row := ledger.Pool{MaxUnits: a.int("units", 8), MaxQueueDepth: int(a.int("depth", 10)), State: park.Active}
	s.setClock(0)
	s.lot = lot.New(lot.Config{Pool: "p", Node: "n", Leased: slices.Contains(a.words, "leased"), Row: row}, s.now)
}

func (s *scenario) setClock(d time.Duration) {
	s.now = lot.Instant{Wall: park.At(start().Add(d)), Mono: time.Hour + d}
}

func (s *scenario) step(command string) {
	var ops []lot.Op
	s.requests, s.rollback = nil, false
	for text := range strings.SplitSeq(command, ";") {
		fields := strings.Fields(text)
		if op := s.op(fields[0], s.parse(fields[1:])); op != nil {
			ops = append(ops, op)
		}
	}
	step, results := s.lot.Apply(s.now, ops, s.requests)
	for i, r := range results {
		s.writeResult(ops[i], r)
	}
	s.writeEvents(step)
	if s.rollback {
		s.lot.Rollback()
	}
	s.writeState()
}

func (s *scenario) op(name string, a args) lot.Op {
	switch name {
	case "at":
		d, err := time.ParseDuration(a.words[0])
		if err != nil {
			s.Fatal(err)
		}
		s.setClock(d)
		return nil
	case "lease":
		s.requests = append(s.requests, lot.LeaseRequest{Worker: "w", Secret: "s", Max: int(a.int("max", 1)), MaxBytes: int(a.int("bytes", 0)), TTL: a.duration("ttl")})
		return nil
	case "rollback":
		s.rollback = true
		return nil
	case "set":
		return s.set(a)
	case "submit":
		return s.submit(a)
	}
	id, attempt := a.words[0], int(a.int("attempt", 1))
	switch name {
	case "finish":
		return lot.Finish{TaskID: id, Attempt: attempt, Outcome: park.Outcome{Status: park.Completed}}
	case "complete":
		return lot.Finish{TaskID: id, Attempt: attempt, Lease: lot.LeaseID("p", attempt, "s", id), Outcome: park.Outcome{Status: park.Completed}}
	case "fail":
		return lot.Finish{TaskID: id, Attempt: attempt, Outcome: park.Failure("broken", "it broke")}
	case "requeue":
		return lot.Requeue{TaskID: id, Attempt: attempt, Reason: park.ReasonNodeLost}
	case "cancel":
		return lot.Cancel{TaskID: id}
	case "keep":
		return lot.RenewLease{TaskID: id, Lease: lot.LeaseID("p", attempt, "s", id), TTL: a.duration("ttl")}
	}
	s.Fatalf("there is no operation %q", name)
	return nil
}

func (s *scenario) submit(a args) lot.Op {
	spec := &ledger.Spec{
		PoolID: "p", TaskID: a.words[0], Tenant: "t", MailboxKey: "m", Units: a.int("units", 1),
		Timeout: a.duration("timeout"), Digest: uint64(a.int("digest", 1)),
		Retry: park.Retry{MaxAttempts: int(a.int("attempts", 0)), Backoff: park.Duration(a.duration("backoff"))},
	}
	spec.Payload = make([]byte, a.int("bytes", 0))
	for _, w := range a.words[1:] {
		p, err := park.ParsePriority(w)
		if err != nil {
			s.Fatal(err)
		}
		spec.Priority = p
	}
	if by := a.duration("by"); by != 0 {
		spec.Deadline = park.At(start().Add(by))
	}
	if !slices.Contains(s.ids, spec.TaskID) {
		s.ids = append(s.ids, spec.TaskID)
	}
	return lot.Submit{Spec: spec}
}

func (s *scenario) set(a args) lot.Op {
	var p park.PoolPatch
	if _, ok := a.named["units"]; ok {
		p.MaxUnits = new(a.int("units", 0))
	}
	if _, ok := a.named["depth"]; ok {
		p.MaxQueueDepth = new(int(a.int("depth", 0)))
	}
	if len(a.words) > 0 {
		p.State = new(park.PoolState(a.words[0]))
	}
	return lot.Configure{Patch: p}
}

func (s *scenario) writeResult(op lot.Op, r lot.Result) {
	switch {
	case r.Err != nil:
		fmt.Fprintf(&s.out, "  %s: %s\n", r.Err.Code, r.Err.Detail)
	case r.Stale:
		s.out.WriteString("  stale: nothing is changed\n")
	case r.Position > 0:
		fmt.Fprintf(&s.out, "  %s is parked at %d\n", op.(lot.Submit).Spec.TaskID, r.Position)
	}
}

func (s *scenario) writeEvents(step *lot.Step) {
	for _, e := range step.Events {
		fmt.Fprintf(&s.out, "  %s", e.Action)
		if e.TaskID != "" {
			fmt.Fprintf(&s.out, " %s", e.TaskID)
		}
		if e.Attempt > 0 {
			fmt.Fprintf(&s.out, " run %d", e.Attempt)
		}
		if len(e.Detail) > 0 {
			fmt.Fprintf(&s.out, " %s", e.Detail)
		}
		s.out.WriteByte('\n')
	}
	for _, m := range step.Messages {
		fmt.Fprintf(&s.out, "  message: %s %s\n", m.TaskID, m.Status)
	}
}

// writeState writes the state of the pool.
func (s *scenario) writeState() {
	if err := s.lot.CheckAll(); err != nil {
		s.Error(err)
	}
	row := s.lot.Row()
	var running []string
	parked := make([]string, row.Queued)
	for _, id := range s.ids {
		state, at, ok := s.lot.State(id)
		switch {
		case !ok:
		case state.Status == park.Running:
			running = append(running, id)
		case at > 0 && int(at) <= len(parked) && parked[at-1] == "":
			parked[at-1] = id
		default:
			s.Errorf("task %s is at %d of %d", id, at, row.Queued)
		}
	}
	fmt.Fprintf(&s.out, "  = rev %d: %d of %d units, running [%s], parked [%s]\n",
		row.Rev, row.Used, row.MaxUnits, strings.Join(running, " "), strings.Join(parked, " "))
	if wall, mono := s.lot.NextTimers(); !wall.IsZero() || mono != 0 {
		next := wall.Sub(start())
		if wall.IsZero() {
			next = mono - time.Hour
		}
		fmt.Fprintf(&s.out, "  = wakes at %s\n", next)
	}
}
