package park_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// FuzzSubmission reads submissions. What is taken keeps its content, and its digest, over the wire.
func FuzzSubmission(f *testing.F) {
	for _, seed := range []string{
		`{"taskId":"render-41","tenant":"acme","priority":"high","resourceCost":{"kind":"gpuVram","units":8},"timeoutSecs":600}`,
		`{"deadline":"2026-12-01T10:00:00.5+01:00","mailboxKey":{"tenant":"a","userId":"b","sessionId":"c"}}`,
		`{"retry":{"maxAttempts":3,"backoff":"1h30m"},"command":["a","b"],"workDir":"/","payload":{"a":[1,2]}}`,
		`{"mailboxKey":"box","resourceCost":{"units":1099511627776}}`, `{"retry":{"backoff":"7d"}}`, `{"deadline":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s park.Submission
		if json.Unmarshal(b, &s) != nil {
			return
		}
		if err := s.Normalize(); err != nil {
			if park.CodeOf(err) != park.InvalidRequest {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		again := s
		if err := again.Normalize(); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("normalized again: %+v, %v; before: %+v", again, err, s)
		}
		wire, err := json.Marshal(&s)
		if err != nil {
			t.Fatalf("not written: %v", err)
		}
		var back park.Submission
		if err := json.Unmarshal(wire, &back); err != nil {
			t.Fatalf("%s is not read again: %v", wire, err)
		}
		if err := back.Normalize(); err != nil || back.Digest() != s.Digest() {
			t.Fatalf("%s has another digest than %s, %v", wire, b, err)
		}
	})
}

// FuzzText reads times, durations and ids of events. What is taken is written so that it reads the same.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"30s", "7d", "1h30m", "0.5d", "2026-12-01T10:00:00Z", "2026-12-01T10:00:00.123456789+05:30", "gpu:17:2", "a:b:c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := park.ParseDuration(s); err == nil {
			if again, err := park.ParseDuration(d.String()); err != nil || again != d || d < 0 {
				t.Errorf("%q is %s, and that %s, %v", s, d, again, err)
			}
		}
		if at, err := park.ParseTime(s); err == nil {
			b, err := json.Marshal(at)
			if err != nil {
				return // a year that RFC 3339 cannot write
			}
			var again park.Time
			if err := json.Unmarshal(b, &again); err != nil || !again.Equal(at.Time) {
				t.Errorf("%q is %s, and that %s, %v", s, at, again, err)
			}
		}
		if pool, rev, ord, err := park.ParseEventID(s); err == nil {
			p, r, o, err := park.ParseEventID(park.EventID(pool, rev, ord))
			if err != nil || p != pool || r != rev || o != ord {
				t.Errorf("%q is %s %d %d, and that %s %d %d, %v", s, pool, rev, ord, p, r, o, err)
			}
		}
	})
}

// FuzzDuration: what is taken for a duration can be added to another, and to any time that may come up, and reads as it was.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"0", "1ns", "30s", "1h30m", "7d", "0.5d", "36500d", "36501d", "-1s", "-0d", "NaNd", "Infd", "1e300d", "2562047h47m", "9223372036854775807ns", "d", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := park.ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 || time.Duration(d) > park.MaxDuration || d+d < d {
			t.Errorf("%q is %d", s, d)
		}
		at := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
		if at.Add(time.Duration(d)).Before(at) || at.Add(-time.Duration(d)).After(at) || park.FromMicro(park.At(at.Add(time.Duration(d))).Micro()).Before(at) {
			t.Errorf("%q wraps an instant", s)
		}
		if again, err := park.ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%q is %s, which is %v %v", s, d, again, err)
		}
	})
}
