package park_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// FuzzValidJSON holds it to encoding/json.
func FuzzValidJSON(f *testing.F) {
	for _, s := range []string{
		``, ` `, `{}`, ` [ ] `, `{"a":[1,-0.5e+3,true,false,null,"\u00ff\n"]}`, `{"a":1,}`, `[1,]`, `[,1]`, `{,}`, `{"a"}`, `{"a":}`,
		`{a:1}`, `{"a":1 "b":2}`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `1E5`, `-0`, `--1`, `+1`, `"`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`,
		"\"\x01\"", "\"\x80\"", `tru`, `truex`, `nul`, `1 2`, `[1}`, `{"a":1]`, `]`, `}`, `{"a":{"b":[{}]}}`, "\v1", "[1\n,\t2\r]", "\ufeff1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := park.ValidJSON(b), json.Valid(b); got != want {
			t.Errorf("%q: %t, want %t", b, got, want)
		}
	})
}

func TestValidJSONNests(t *testing.T) {
	for _, n := range []int{9_999, 10_000, 10_001, 1_000_000} {
		for _, part := range []struct{ open, inner, end string }{{"[", "", "]"}, {"[", "1", "]"}, {`{"a":`, "{}", "}"}, {`{"a":`, "1", "}"}} {
			b := []byte(strings.Repeat(part.open, n) + part.inner + strings.Repeat(part.end, n))
			if got, want := park.ValidJSON(b), json.Valid(b); got != want {
				t.Errorf("%d of %s%s: %t, want %t", n, part.open, part.inner, got, want)
			}
		}
	}
}

func BenchmarkValidJSON(b *testing.B) {
	body := []byte(`{"taskId":"task-123456","tenant":"tenant-7","priority":"high","resourceCost":{"kind":"mixed","units":1},` +
		`"timeoutSecs":600,"mailboxKey":"user-12","payload":{"durationMs":0,"result":{"text":"a line of an answer"}}}`)
	for name, valid := range map[string]func([]byte) bool{"park": park.ValidJSON, "encoding": json.Valid} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if !valid(body) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
