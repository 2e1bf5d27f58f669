package simulate

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzQuick: whatever is read quickly is what the decoder reads.
func FuzzQuick(f *testing.F) {
	for _, s := range []string{
		`{"durationMs":5}`, `{"durationMs":0,"result":7}`, `{"durationMs":12,"result":{"a":[1,"}\""]}}`,
		`{"durationMs":1,"result":"x","fail":true}`, `{"durationMs":1, "result":1}`, `{"durationMs":01}`, `{"durationMs":1.5}`,
		`{"durationMs":1,"result":1,"result":2}`, `{"durationMs":-1}`, `{"durationMs":1,"result":null}`, `{"durationMs":99999999999}`,
		`{"durationMs":1,"result":1 }`, `{"durationMs":}`, `{"durationMs":1,"result":"\\"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !json.Valid(payload) {
			t.Skip() // the engine takes none
		}
		var got order
		if !quick(payload, &got) {
			return
		}
		var want order
		d := json.NewDecoder(bytes.NewReader(payload))
		d.DisallowUnknownFields()
		if err := d.Decode(&want); err != nil {
			t.Fatalf("%s is read although it is wrong: %v", payload, err)
		}
		if got.DurationMs != want.DurationMs || got.Fail != want.Fail || !bytes.Equal(got.Result, want.Result) {
			t.Errorf("%s: got %+v, want %+v", payload, got, want)
		}
	})
}

func TestQuickReadsOrdersOfLoadTests(t *testing.T) {
	for _, s := range []string{`{"durationMs":5}`, `{"durationMs":0,"result":{"text":"a, \"b\" } ]"}}`, `{"durationMs":3,"result":17}`} {
		var o order
		if !quick([]byte(s), &o) {
			t.Errorf("%s is left to the decoder", s)
		}
	}
}
