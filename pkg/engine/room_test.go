package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// stoppedLoop is a loop that does not run, for tests of its methods.
func stoppedLoop() *loop {
	e := &Engine{env: env.New(&envtest.Machine{}), health: &health.Stores{}}
	return newLoop(&pool{eng: e, messages: make(chan message, 2*maxOps), urgent: make(chan message, 1), quit: make(chan struct{})})
}

// outcomeReport is the outcome of a run that takes a number of bytes in a step.
func outcomeReport(task string, bytes int) *report {
	r := &report{run: &run{task: task, attempt: 1}}
	o := park.Outcome{Status: park.Completed, Result: make([]byte, (bytes-portion.RowBytes)/2)}
	r.setOp(lot.Finish{TaskID: task, Attempt: 1, Outcome: o})
	return r
}

// batchNames returns the names of the messages of a batch.
func batchNames(names map[message]string, batch ...message) string {
	var all []string
	for _, r := range batch {
		all = append(all, names[r])
	}
	return strings.Join(all, " ")
}

// TestWhatBeginsAStep: what was put off goes before what comes, and large outcomes take turns with all else.
func TestWhatBeginsAStep(t *testing.T) {
	urgent, aside, coming, large := &operations{}, &operations{}, &operations{}, &operations{}
	names := map[message]string{urgent: "urgent", aside: "aside", coming: "coming", large: "large"}
	for _, c := range []struct {
		holds  string
		larger bool
		want   string
	}{
		{"urgent aside coming large", true, "urgent large aside coming"},
		{"urgent aside coming large", false, "urgent aside large coming"},
		{"urgent large", false, "urgent large"},
		{"aside coming", false, "aside coming"},
		{"coming large", false, "coming large"},
		{"coming large", true, "large coming"},
		{"aside large", false, "aside large"},
		{"aside large", true, "large aside"},
		{"large", false, "large"},
		{"aside", true, "aside"},
	} {
		p := stoppedLoop()
		p.largeNext = c.larger
		if strings.Contains(c.holds, "urgent") {
			p.urgent <- urgent
		}
		if strings.Contains(c.holds, "aside") {
			p.postponed = append(p.postponed, aside)
		}
		if strings.Contains(c.holds, "coming") {
			p.messages <- coming
		}
		if strings.Contains(c.holds, "large") {
			p.largeOutcomes = append(p.largeOutcomes, large)
		}
		var got []message
		timer := time.NewTimer(time.Hour)
		for range strings.FieldsSeq(c.holds) {
			r, ok := p.firstMessage(timer, time.Hour)
			if !ok {
				t.Fatalf("%s: the loop is to end", c.holds)
			}
			got = append(got, r)
		}
		if g := batchNames(names, got...); g != c.want {
			t.Errorf("of %q, larger %t: steps begin with %q, not %q", c.holds, c.larger, g, c.want)
		}
	}
	p := stoppedLoop()
	p.postponed, p.largeOutcomes, p.largeNext = []message{aside}, []message{large, &operations{}}, true
	first, _ := p.firstMessage(nil, 0)
	if second, _ := p.firstMessage(nil, 0); first != large || second != aside || !p.largeNext {
		t.Error("large outcomes take two turns in a row")
	}
	p.postponed = append(p.postponed, aside)
	close(p.quit)
	if _, ok := p.firstMessage(nil, 0); ok {
		t.Error("a loop that is to end goes on with what was put off")
	}
}

// TestWhatGoesIntoAStep fills steps to their bounds.
func TestWhatGoesIntoAStep(t *testing.T) {
	const most = maxStepBytes
	op := func(n, bytes int) message { // which is no outcome of a run
		r := &operations{}
		for i := range n {
			r.ops = append(r.ops, lot.Finish{TaskID: fmt.Sprint(i), Outcome: park.Outcome{Result: make([]byte, (bytes/n-portion.RowBytes)/2)}})
		}
		return r
	}
	look := func() message { return &loopFunc{fn: func(*loop) {}} }
	for name, c := range map[string]struct {
		first         message
		aside, coming []message
		large         []message
		larger        bool
		want          string // the batch
		left          string // and what is put off: aside, large
	}{
		"all that waits":             {first: op(1, 1000), coming: []message{op(1, 1000), look()}, want: "f c0 c1", left: "/"},
		"what was put off before":    {first: op(1, 1000), aside: []message{op(1, 1000)}, coming: []message{op(1, 1000)}, want: "f a0 c0", left: "/"},
		"just full":                  {first: op(1, most/2), coming: []message{op(1, most/2), look()}, want: "f c0 c1", left: "/"},
		"too full":                   {first: op(1, most/2), coming: []message{op(1, most/2+2), look()}, want: "f", left: "c0/"},
		"too large alone":            {first: look(), coming: []message{op(1, most+2)}, want: "f c0", left: "/"},
		"nothing more for one":       {first: op(1, most+2), coming: []message{look(), op(1, 1000)}, want: "f c0", left: "c1/"},
		"a full one and many":        {first: op(maxOps-1, 1<<20), coming: []message{op(1, 1000), op(1, 1000)}, want: "f c0", left: "/"},
		"a small outcome":            {first: op(1, most), coming: []message{outcomeReport("x", largeOutcomeBytes), look()}, want: "f", left: "c0/"},
		"a large outcome":            {first: op(1, most), coming: []message{outcomeReport("x", largeOutcomeBytes+2), look()}, want: "f c1", left: "/c0"},
		"large ones that fit":        {first: op(1, most/2), large: []message{outcomeReport("x", most/4), outcomeReport("y", most/4), outcomeReport("z", 1000)}, want: "f l0 l1", left: "/l2"},
		"large ones after all":       {first: op(1, 1000), large: []message{outcomeReport("x", most-1000)}, coming: []message{look()}, want: "f c0 l0", left: "/"},
		"a large one too much":       {first: op(1, 1000), large: []message{outcomeReport("x", most-998)}, want: "f", left: "/l0"},
		"not the turn of large ones": {first: op(1, 1000), large: []message{outcomeReport("x", 1<<20)}, larger: true, want: "f", left: "/l0"},
		"no large one":               {first: look(), want: "f", left: "/"},
	} {
		p := stoppedLoop()
		p.postponed, p.largeOutcomes, p.largeNext = c.aside, c.large, c.larger
		names := map[message]string{c.first: "f"}
		for letter, all := range map[string][]message{"a": c.aside, "c": c.coming, "l": c.large} {
			for i, r := range all {
				names[r] = fmt.Sprint(letter, i)
			}
		}
		for _, r := range c.coming {
			p.messages <- r
		}
		if got := batchNames(names, p.gather([]message{c.first})...); got != c.want {
			t.Errorf("%s: a step has %q, not %q", name, got, c.want)
		}
		if got := batchNames(names, p.postponed...) + "/" + batchNames(names, p.largeOutcomes...); got != c.left {
			t.Errorf("%s: %q are left, not %q", name, got, c.left)
		}
	}
}

// TestStepsEnd: requests without operations count as one each, so that a step ends, and so do full ones.
func TestStepsEnd(t *testing.T) {
	for name, first := range map[string]message{"looks": &operations{}, "an operation": outcomeReport("x", 1000)} {
		p := stoppedLoop()
		for range 2 * maxOps {
			p.messages <- &operations{}
		}
		if n := len(p.gather([]message{first})); n != maxOps {
			t.Errorf("%s: a step has %d requests", name, n)
		}
	}
	p := stoppedLoop()
	for range maxOps {
		p.messages <- outcomeReport("x", 1000)
	}
	p.largeOutcomes = []message{outcomeReport("y", 1000)}
	if n := len(p.gather([]message{outcomeReport("z", 1000)})); n != maxOps || len(p.largeOutcomes) != 1 {
		t.Errorf("a step has %d outcomes", n)
	}
	for ops, want := range map[int]int{maxOps - 1: 0, maxOps: 1} { // how many large ones there is no room for
		p := stoppedLoop()
		p.largeOutcomes = []message{outcomeReport("y", 1000)}
		batch := []message{&operations{request: request{ops: make([]lot.Op, ops)}}}
		if p.gatherLarge(batch, p.sizeOf(batch...)); len(p.largeOutcomes) != want {
			t.Errorf("beside %d operations %d large outcomes find no room", ops, len(p.largeOutcomes))
		}
	}
}

// TestWhatMayBeOvertaken: nothing but the large outcome of a run.
func TestWhatMayBeOvertaken(t *testing.T) {
	p := stoppedLoop()
	large := outcomeReport("x", largeOutcomeBytes+2)
	for name, r := range map[string]message{
		"of nobody":          &operations{request: request{ops: large.ops}},
		"without operations": &report{run: large.run},
		"small":              outcomeReport("x", largeOutcomeBytes),
	} {
		if p.postpone(r) || p.postponed[0] != r || len(p.largeOutcomes) > 0 || large.run.returned {
			t.Errorf("an outcome %s may be overtaken", name)
		}
	}
	if !p.postpone(large) || len(p.largeOutcomes) != 1 || !large.run.returned {
		t.Error("a large outcome may not be overtaken")
	}
}

// TestFullStep: it has a step's worth, or what comes would overtake what was put off.
func TestFullStep(t *testing.T) {
	plain, look := outcomeReport("x", 1000), &loopFunc{fn: func(*loop) {}}
	for _, c := range []struct {
		size  size
		aside []message
		want  bool
	}{
		{size{maxOps - 1, maxStepBytes - 1}, nil, false},
		{size{maxOps, 0}, nil, true},
		{size{0, maxStepBytes}, nil, true},
		{size{}, []message{look, plain}, false},
		{size{}, []message{plain}, true},
	} {
		p := &loop{postponed: c.aside}
		if got := p.full(c.size); got != c.want {
			t.Errorf("%+v with %d put off: full is %t", c.size, len(c.aside), got)
		}
	}
}

// TestPlainRequests: one that asks for anything beside its operations is none.
func TestPlainRequests(t *testing.T) {
	ops := outcomeReport("x", 1000).ops
	for name, r := range map[string]message{
		"no operation": &operations{}, "no outcome": &report{}, "late": &derived{request: request{ops: ops}}, "fresh": &operations{request: request{ops: ops}, catchUp: true},
		"reload": &refreshRequest{request: request{ops: ops}}, "joins": &workerJoins{request: request{ops: ops}}, "leaves": &workerLeaves{request: request{ops: ops}},
		"look": &loopFunc{request: request{ops: ops}},
	} {
		if onlyOperations(r) {
			t.Errorf("%s: a plain request", name)
		}
	}
	if !onlyOperations(&operations{request: request{ops: ops}}) || !onlyOperations(&report{request: request{ops: ops}}) {
		t.Error("an operation alone is no plain request")
	}
}

// TestWhatIsLeftToOthers: outcomes of runs, whole, up to the bounds of a note.
func TestWhatIsLeftToOthers(t *testing.T) {
	end := func(task string, weight int) *report { // of which a note has so many bytes, roughly
		r := &report{run: &run{task: task}}
		r.setOp(lot.Finish{TaskID: task, Attempt: 2, SubmittedAt: park.FromMicro(7), Outcome: park.Outcome{
			Status: park.Failed, Reason: "r", Message: "mm", Result: []byte(strings.Repeat("1", (weight-200)*3/4-3)), RetryAfter: time.Second,
		}})
		return r
	}
	const kilo = 1 << 10
	submit := &report{run: &run{}}
	submit.setOp(lot.Submit{})
	two := &report{run: &run{}, request: request{ops: append(end("y", kilo).ops, end("z", kilo).ops...)}}
	for name, c := range map[string]struct {
		batch []message
		most  int
		want  string
		whole bool
	}{
		"nothing":            {nil, maxNoteBytes, "", true},
		"looks":              {[]message{&operations{}}, maxNoteBytes, "", true},
		"something later":    {[]message{&derived{derive: func(*loop) []lot.Op { return nil }}}, maxNoteBytes, "", false},
		"an outcome":         {[]message{end("x", kilo), &operations{}}, maxNoteBytes, "x", true},
		"of no run":          {[]message{&operations{request: request{ops: end("x", kilo).ops}}, end("y", kilo)}, maxNoteBytes, "y", false},
		"no outcome":         {[]message{submit, end("y", kilo)}, maxNoteBytes, "y", false},
		"two at once":        {[]message{two}, maxNoteBytes, "", false},
		"as large as may be": {[]message{end("x", maxDelegatedOutcome)}, maxNoteBytes, "x", true},
		"too large":          {[]message{end("x", maxDelegatedOutcome+4), end("y", kilo)}, maxNoteBytes, "y", false},
		"as much as may be":  {[]message{end("x", kilo), end("y", kilo)}, 2 * kilo, "x y", true},
		"too much":           {[]message{end("x", kilo), end("y", kilo), end("z", kilo/2)}, 2*kilo - 1, "x z", false},
	} {
		left, h := delegable(c.batch, c.most)
		var got []string
		for _, o := range left {
			got = append(got, o.Task)
		}
		if g := strings.Join(got, " "); g != c.want || h.All != c.whole {
			t.Errorf("%s: %q is left, whole %t; not %q, %t", name, g, h.All, c.want, c.whole)
		}
		if (h.Note == nil) != (len(left) == 0) {
			t.Errorf("%s: the note is %s", name, h.Note)
		}
		for _, o := range readNotes([][]byte{[]byte("{"), h.Note}) {
			f := o.finish()
			want := park.Outcome{Status: park.Failed, Reason: "r", Message: "mm", Result: f.Outcome.Result, RetryAfter: time.Second}
			if f.Attempt != 2 || f.SubmittedAt != park.FromMicro(7) || fmt.Sprint(f.Outcome) != fmt.Sprint(want) || len(o.Result) == 0 {
				t.Errorf("%s: an outcome arrives as %+v", name, f)
			}
		}
	}
}

// TestWhatOthersLeft is held up to a bound, and goes into steps of which each has room for so much.
func TestWhatOthersLeft(t *testing.T) {
	p := stoppedLoop()
	now := p.eng.env.Instant()
	p.lot = lot.New(lot.Config{Pool: "cpu"}, now)
	left := func(n, bytes int) (all []delegatedOutcome) {
		for i := range n {
			all = append(all, delegatedOutcome{Task: fmt.Sprint("t", i), Attempt: 1, Status: park.Completed, Result: make([]byte, (bytes-portion.RowBytes)/2)})
		}
		return all
	}
	for i := range maxOps + 2 {
		r := ledger.Record{Spec: ledger.Spec{TaskID: fmt.Sprint("t", i), Units: 1}, State: ledger.State{Status: park.Running, Attempt: 1}}
		p.lot.Restore(&r, now)
	}
	busy := &derived{request: request{ops: outcomeReport("own", maxDelegatedBytes-1000).ops}, derive: func(*loop) []lot.Op { return nil }}
	own := &operations{request: request{ops: outcomeReport("own", maxDelegatedBytes).ops}}
	for name, c := range map[string]struct {
		before, left []delegatedOutcome
		batch        []message
		held, taken  int
	}{
		"nothing":                     {},
		"all":                         {left: left(3, 1000), held: 3, taken: 3},
		"as much as may be held":      {left: left(8, maxStepBytes/8), held: 8, taken: 1},
		"more than that":              {left: left(9, maxStepBytes/8), held: 8, taken: 1},
		"more than there is room for": {before: left(7, maxStepBytes/8), left: left(2, maxStepBytes/8), held: 8, taken: 1},
		"one that is too large":       {left: left(1, maxDelegatedBytes+2), held: 1, taken: 1},
		"what just fits":              {left: left(2, maxDelegatedBytes/2), held: 2, taken: 2},
		"what does not":               {left: left(3, maxDelegatedBytes/2), held: 3, taken: 2},
		"many":                        {left: left(maxOps+1, 1000), held: maxOps + 1, taken: maxOps},
		"beside what is its own":      {left: left(2, maxDelegatedBytes/2), batch: []message{own}, held: 2, taken: 2},
		"beside what was brought":     {left: left(2, 1000), batch: []message{busy}, held: 2, taken: 1},
	} {
		p.delegated = c.before
		p.keepDelegated(c.left)
		if len(p.delegated) != c.held {
			t.Errorf("%s: %d are held, not %d", name, len(p.delegated), c.held)
		}
		batch := p.addDelegated(c.batch)
		if len(p.delegated) != c.held-c.taken {
			t.Errorf("%s: %d wait for the next step", name, len(p.delegated))
		}
		if c.taken == 0 {
			if len(batch) != len(c.batch) {
				t.Errorf("%s: a step has %d requests", name, len(batch))
			}
			continue
		}
		if ops := batch[len(c.batch)].(*derived).derive(p); len(ops) != c.taken {
			t.Errorf("%s: a step stores %d, not %d", name, len(ops), c.taken)
		}
	}
	for _, o := range []delegatedOutcome{{Task: "gone", Attempt: 1}, {Task: "t0", Attempt: 2}} {
		if p.anyUnstored([]delegatedOutcome{o}) {
			t.Errorf("%+v is not stored yet", o)
		}
		p.delegated = []delegatedOutcome{o}
		if ops := p.addDelegated(nil)[0].(*derived).derive(p); len(ops) != 0 {
			t.Errorf("%+v is stored once more", o)
		}
	}
	if !p.anyUnstored([]delegatedOutcome{{Task: "gone"}, {Task: "t0", Attempt: 1}}) {
		t.Error("an outcome among others is stored already")
	}
}
