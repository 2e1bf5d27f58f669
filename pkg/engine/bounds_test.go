package engine

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestConfigurationAtItsBounds: the last value is taken, the next one not, and the error names its field alone.
func TestConfigurationAtItsBounds(t *testing.T) {
	pool0 := func(edit func(p *Pool)) func(c *Config) { return func(c *Config) { edit(&c.Pools[0]) } }
	most := time.Duration(park.MaxTimeoutSecs) * time.Second
	for _, c := range []struct {
		edit  func(c *Config)
		field string // "" where it is taken
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Node = strings.Repeat("n", park.MaxNameLength) }, ""},
		{func(c *Config) { c.Node = strings.Repeat("n", park.MaxNameLength+1) }, "Node"},
		{func(c *Config) { c.Node = "a\nb" }, "Node"},
		{func(c *Config) { c.NodeGrace = -1 }, "NodeGrace"},
		{func(c *Config) { c.Patience = -1 }, "Patience"},
		{pool0(func(p *Pool) { p.ID = strings.Repeat("a", 63) }), ""},
		{pool0(func(p *Pool) { p.MaxUnits = park.MaxUnits }), ""},
		{pool0(func(p *Pool) { p.MaxQueueDepth = park.MaxQueueDepth }), ""},
		{pool0(func(p *Pool) { p.MaxQueueDepth = park.MaxQueueDepth + 1 }), "Pools[0].MaxQueueDepth"},
		{pool0(func(p *Pool) { p.DefaultTimeout = most }), ""},
		{pool0(func(p *Pool) { p.DefaultTimeout = most + time.Second }), "Pools[0].DefaultTimeout"},
		{pool0(func(p *Pool) { p.DefaultTimeout = time.Second + 1 }), "Pools[0].DefaultTimeout"},
		{pool0(func(p *Pool) { p.Retry.MaxAttempts = 1000 }), ""},
		{pool0(func(p *Pool) { p.Retry.MaxAttempts = 1001 }), "Pools[0].Retry.MaxAttempts"},
		{pool0(func(p *Pool) { p.Kind = park.CPU }), ""},
		{pool0(func(p *Pool) { p.Runtime = park.Native }), ""},
		{pool0(func(p *Pool) { p.Runtime = park.CloudWorker }), ""},
	} {
		config := Config{Pools: []Pool{{PoolSpec: park.PoolSpec{ID: "a"}}}}
		c.edit(&config)
		all := config.Check()
		switch {
		case c.field == "" && len(all) != 0:
			t.Errorf("refused: %v", all)
		case c.field != "" && (len(all) != 1 || !strings.HasPrefix(all[0].Error(), c.field+" ")):
			t.Errorf("%s: %v", c.field, all)
		}
	}
	if all := (&Config{}).Check(); len(all) != 1 || all[0].Error() != "Pools: an engine needs at least one pool" {
		t.Errorf("without pools: %v", all)
	}
}

// TestWhatStoresCanKeep tells texts that every store keeps from those that one refuses.
func TestWhatStoresCanKeep(t *testing.T) {
	for text, want := range map[string]bool{"": true, "é": true, "\x00": false, "\x00a": false, "a\x00": false, "\xff": false} {
		if storable(text) != want {
			t.Errorf("%q: want %t", text, want)
		}
	}
	for _, r := range []park.LeaseResult{{}, {Payload: json.RawMessage(`1`), Reason: "r", Message: "m"}} {
		if err := checkResult(&r); err != nil {
			t.Error(err)
		}
	}
	if checkResult(&park.LeaseResult{Payload: json.RawMessage(`x`)}) == nil {
		t.Error("a result of one byte that is no JSON is taken")
	}
}

// TestQuotedLength: it is never less than what JSON takes with a comma, and is that for what JSON quotes most shortly.
func TestQuotedLength(t *testing.T) {
	for s, want := range map[string]int{
		"": 3, "a": 4, " ": 4, "\x1f": 9, "!": 4, "\\": 5, `"`: 5, "<": 9, ">": 9, "&": 9, "=": 4, "\x7f": 4, "\u0080": 15, "a\"<": 12,
	} {
		text, err := json.Marshal(s)
		if got := quotedLen(s); err != nil || got != want || got < len(text)+1 {
			t.Errorf("%q takes %d bytes, want %d; JSON takes %d", s, got, want, len(text)+1)
		}
	}
}

type otherNotifier struct{ Notifier }

// TestWeights weighs operations.
func TestWeights(t *testing.T) {
	spec := &ledger.Spec{Payload: make([]byte, 1000), WorkDir: "/tmp", Command: []string{"ab", `"`}}
	submit := 2*portion.RowBytes + 1000 + 4 + 5 + 5
	finish := lot.Finish{Outcome: park.Outcome{Result: make([]byte, 100), Message: "0123456789"}}
	p := &pool{}
	for _, c := range []struct {
		ops  []lot.Op
		want int
	}{
		{nil, 0},
		{[]lot.Op{lot.Submit{Spec: spec}}, submit},
		{[]lot.Op{finish}, portion.RowBytes + 2*110},
		{[]lot.Op{lot.Cancel{}, finish, lot.Submit{Spec: spec}}, 2*portion.RowBytes + 2*110 + submit},
	} {
		if got := p.bytesOf(c.ops); got != c.want {
			t.Errorf("%+v weighs %d, want %d", c.ops, got, c.want)
		}
	}
	p.Notifier = otherNotifier{}
	if got := p.bytesOf([]lot.Op{finish}); got != portion.RowBytes+3*110 {
		t.Errorf("with a notification %d", got)
	}
	if got := p.sizeOf(&operations{request: request{ops: []lot.Op{lot.Cancel{}}}}, &operations{request: request{ops: []lot.Op{lot.Cancel{}, lot.Cancel{}}}}); got != (size{3, 3 * portion.RowBytes}) {
		t.Errorf("two requests are of size %+v", got)
	}
}

// TestFitOfResults keeps a result that has as many bytes as it may, and says what it leaves out.
func TestFitOfResults(t *testing.T) {
	p := &pool{Pool: Pool{PoolSpec: park.PoolSpec{ID: "cpu", MaxResultBytes: 10}}}
	for _, c := range []struct {
		status        park.Status
		bytes         int
		message       string
		left          int
		reason, start string
	}{
		{park.Completed, 10, "", 10, "", ""},
		{park.Completed, 11, "", 0, park.ReasonResultTooLarge, "the result has 11 bytes, but those of pool cpu may have 10"},
		{park.Failed, 10, "why", 10, "r", "why"},
		{park.Failed, 11, "why", 0, "r", "why; the result has 11 bytes"},
		{park.Failed, 11, "", 0, "r", "the result has 11 bytes"},
	} {
		o := park.Outcome{Status: c.status, Result: make([]byte, c.bytes), Message: c.message}
		if c.status == park.Failed {
			o.Reason = "r"
		}
		got := p.fitOutcome(o)
		if len(got.Result) != c.left || got.Reason != c.reason || !strings.HasPrefix(got.Message, c.start) || c.start == "" && got.Message != "" {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	long := p.fitOutcome(park.Outcome{Status: park.Failed, Result: make([]byte, 11), Message: strings.Repeat("m", park.MaxMessage)})
	if n := strings.Count(long.Message, "m"); n < park.MaxMessage/2 || len(long.Message) > park.MaxMessage {
		t.Errorf("of a long message %d bytes are left, in all %d", n, len(long.Message))
	}
	if got := p.fitOutcome(park.Outcome{Status: park.Failed, Message: "a\x00b"}); got.Message != "a\uFFFDb" {
		t.Errorf("a message that no store keeps is left as %q", got.Message)
	}
	if got := (&pool{}).maxResult(); got != park.DefaultMaxResult {
		t.Errorf("by default a result may have %d bytes", got)
	}
}

// TestFingerprints: a setting that is zero is as one that a version does not know, and any other counts.
func TestFingerprints(t *testing.T) {
	of := func(v any) string {
		p := Pool{PoolSpec: park.PoolSpec{ID: "a"}, Settings: v}
		return p.fingerprint()
	}
	none := of(nil)
	if len(none) != 16 {
		t.Errorf("a fingerprint is %q", none)
	}
	type m = map[string]any
	for _, zero := range []any{m{}, m{"a": ""}, m{"a": false}, m{"a": 0}, m{"a": []int{}}, m{"a": m{"b": m{}}}, m{"a": nil}} {
		if of(zero) != none {
			t.Errorf("%v makes a difference", zero)
		}
	}
	prints := map[string]any{none: nil}
	for _, v := range []any{m{"a": "0"}, m{"a": true}, m{"a": 1}, m{"a": []int{0}}, m{"a": m{"b": "c"}}, m{"a": []string{""}}, m{"b": 1}, m{"a": 1 << 60}, m{"a": 1<<60 + 1}} {
		print := of(v)
		if other, twice := prints[print]; twice || print == "" {
			t.Errorf("%v has the fingerprint %q, as %v", v, print, other)
		}
		prints[print] = v
	}
	if got := of(func() {}); got != "" {
		t.Errorf("of what JSON cannot tell: %q", got)
	}
}
