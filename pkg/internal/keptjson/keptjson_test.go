package keptjson_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/internal/keptjson"
)

// FuzzCheck holds it to encoding/json, which does not look at whether texts are UTF-8.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		``, ` `, `{}`, ` [ ] `, `{"a":[1,-0.5e+3,true,false,null,"\u00ff\n"]}`, `{"a":1,}`, `[1,]`, `[,1]`, `{,}`, `{"a"}`, `{"a":}`,
		`{a:1}`, `{"a":1 "b":2}`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `1E5`, `-0`, `--1`, `+1`, `"`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`,
		"\"\x01\"", "\"\x80\"", `tru`, `truex`, `nul`, `1 2`, `[1}`, `{"a":1]`, `]`, `}`, `{"a":{"b":[{}]}}`, "\v1", "[1\n,\t2\r]", "\ufeff1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err, want := keptjson.Check(b), json.Valid(b) && utf8.Valid(b)
		deep := err != nil && strings.Contains(err.Error(), "levels") && depth(b) > keptjson.MaxDepth
		if (err == nil) != want && !deep {
			t.Errorf("%q: %v, want %t", b, err, want)
		}
	})
}

// depth returns how deep b nests, up to where it ceases to be JSON.
func depth(b []byte) int {
	d := json.NewDecoder(strings.NewReader(string(b)))
	level, deepest := 0, 0
	for {
		switch t, err := d.Token(); {
		case err != nil:
			return deepest
		case t == json.Delim('{'), t == json.Delim('['):
			level++
			deepest = max(deepest, level)
		case t == json.Delim('}'), t == json.Delim(']'):
			level--
		}
	}
}

// TestJSONNests: what parkd keeps nests no deeper than it says.
func TestJSONNests(t *testing.T) {
	for _, n := range []int{499, 500, 501, 9_999, 10_000, 10_001, 1_000_000} {
		for _, part := range []struct{ open, inner, end string }{
			{"[", "", "]"}, {"[", "1", "]"}, {`{"a":`, "{}", "}"}, {`{"a":`, "1", "}"}, {" [ 1 , ", "2", " ] "},
		} {
			b := []byte(strings.Repeat(part.open, n) + part.inner + strings.Repeat(part.end, n))
			depth := n
			if part.inner == "{}" {
				depth++
			}
			if err := keptjson.Check(b); (err == nil) != (depth <= keptjson.MaxDepth) || err != nil && !strings.Contains(err.Error(), "500 levels") {
				t.Errorf("%d of %s%s: %v", n, part.open, part.inner, err)
			}
		}
	}
}

// TestKeptJSON: what one of parkd's own readers could not read is not kept.
func TestKeptJSON(t *testing.T) {
	for text, why := range map[string]string{
		`{"a":"é\u0000"}`: "", "\"\xff\"": "UTF-8", "\"\xed\xa0\x80\"": "UTF-8", "{\"\xc3\":1}": "UTF-8", `{"a":}`: "is not JSON", ``: "is not JSON", `1 2`: "is not JSON",
		strings.Repeat("[", 501): "is not JSON",
	} {
		err := keptjson.Check([]byte(text))
		if why == "" && err != nil || why != "" && (err == nil || !strings.Contains(err.Error(), why) && !strings.Contains(err.Error(), "levels")) {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	body := []byte(`{"taskId":"task-123456","tenant":"tenant-7","priority":"high","resourceCost":{"kind":"mixed","units":1},` +
		`"timeoutSecs":600,"mailboxKey":"user-12","payload":{"durationMs":0,"result":{"text":"a line of an answer"}}}`)
	for name, valid := range map[string]func([]byte) bool{"check": func(b []byte) bool { return keptjson.Check(b) == nil }, "encoding": json.Valid} {
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
