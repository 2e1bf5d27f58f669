package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parkd-dev/parkd/pkg/park"
)

const sample = `{"taskId":"render-41","tenant":"acme","priority":"high","resourceCost":{"kind":"gpuVram","units":8},` +
	`"deadline":"2026-12-01T10:00:00Z","timeoutSecs":600,"mailboxKey":"alice","payload":{"any":"json","durationMs":50},` +
	`"command":["python","render.py"],"createdAt":"2026-12-01T09:00:00Z"}`

// everything is one of each form that a body's field may have.
type everything struct {
	Task  park.Submission  `json:"task"`
	Patch *park.PoolPatch  `json:"patch"`
	Lease park.KeepRequest `json:"lease"`
	Deep  []park.Cost      `json:"deep"`
	Flag  *bool            `json:"flag"`
	Any   json.RawMessage  `json:"any"`
	Not   string           `json:"-"`
}

// FuzzDecode holds decode against encoding/json: what decode takes, that reads to the same value; what only
// decode refuses has a reason that encoding/json does not know.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		sample, `{"task":` + sample + `}`, `{}`, ` { } `, `{"any":[1,{"a":null}],"flag":false}`,
		`{"patch":{"state":"paused","maxUnits":0,"maxQueueDepth":null}}`, `{"lease":{"ttl":"30s","progress":1e-3}}`,
		`{"deep":[{"kind":"cpu"},{"units":1}]}`, `{"task":{"mailboxKey":{"tenant":"a","userId":"b","sessionId":"c"}}}`,
		`{"task":{"taskId":"\u0061\"\\"}}`, `{"t\u0061sk":{}}`, `{"Task":{}}`, `{"task":{},"task":{}}`, `{"task":{"tenant":""}}`, `{"not":"x"}`, `{"deep":[null]}`,
		`{"task":{"command":["a","\ud83d\ude00",""]}}`, `{"any":"}{]["}`, `{"any":-0.0e+5 ,"flag":true}`, "{\"any\":\"\\\\\"}",
	} {
		f.Add([]byte(seed))
	}
	known := make(fields)
	known.add(typeOf[everything]())
	known.add(typeOf[mailboxObject]())
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want everything
		before := bytes.Clone(b)
		err := known.read(b, &got, "")
		if !bytes.Equal(b, before) {
			t.Fatal("the body was written to")
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		oracle := d.Decode(&want)
		if oracle == nil && d.More() {
			oracle = errors.New("more than one value")
		}
		if err == nil {
			if oracle != nil {
				t.Fatalf("taken: %s, where encoding/json says %v", b, oracle)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s reads as something else: %s", b, diff)
			}
			return
		}
		if e := err; e.Code != park.InvalidRequest || e.Detail == "" || !utf8.ValidString(e.Detail) {
			t.Fatalf("%s: %v", b, err)
		}
		if oracle == nil && !stricter(err.Detail) && utf8.Valid(b) {
			t.Fatalf("refused: %s: %v", b, err)
		}
	})
}

// stricter reports whether a refusal has one of the reasons that encoding/json does not know: a name in other
// letters or twice, null where nothing can be left out, a text of a field that is none or that is empty, nesting, length.
func stricter(detail string) bool {
	for _, reason := range []string{
		"is not a known field", "is given twice", "not null", "contains an invalid character", "is nested deeper", "must not have more than", "must be an object", "not JSON",
		"must not be empty",
	} {
		if strings.Contains(detail, reason) {
			return true
		}
	}
	return false
}

// TestDecodedIsItsOwn: nothing that was decoded changes with the buffer that it was read from.
func TestDecodedIsItsOwn(t *testing.T) {
	b := []byte(sample)
	var s, want park.Submission
	known := make(fields)
	known.add(typeOf[park.Submission]())
	if err := known.read(b, &s, ""); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 'x'
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
}

// TestAllFieldsAreKnown compares what is read of all bodies with the types' own fields, but for those that no body can have.
func TestAllFieldsAreKnown(t *testing.T) {
	known := newAPI(t, Config{}).fields
	for _, rt := range routes(Limits{}.orDefault()) {
		if rt.body == nil {
			continue
		}
		for own := range rt.body.Fields() {
			name, _, _ := strings.Cut(own.Tag.Get("json"), ",")
			if read := slices.ContainsFunc(known[rt.body], func(f field) bool { return f.name == name }); read == (name == "-") || name == "" {
				t.Errorf("%s: field %s is read: %t", rt.body, own.Name, read)
			}
		}
	}
	if got := reflect.TypeFor[park.Submission]().NumField(); got > 64 {
		t.Errorf("%d fields do not fit into a set of bits", got)
	}
}

func BenchmarkDecode(b *testing.B) {
	known := make(fields)
	known.add(typeOf[park.Submission]())
	body := []byte(sample)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var s park.Submission
			if err := known.read(body, &s, ""); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var s park.Submission
			d := json.NewDecoder(bytes.NewReader(body))
			d.DisallowUnknownFields()
			if err := d.Decode(&s); err != nil {
				b.Fatal(err)
			}
		}
	})
}
