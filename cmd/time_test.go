package cmd

import (
	"strings"
	"testing"
)

// FuzzMoment parses times of flags.
func FuzzMoment(f *testing.F) {
	for _, seed := range []string{"24h", "7d", "2026-12-01T10:00:00Z", "", "-1h", "99999999d", "1e3h", "2070-01-01T0:00:00Z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := parsePast("since", s, testNow())
		if err == nil && at.After(testNow()) && !strings.Contains(s, "T") {
			t.Errorf("%q is %s, after now", s, at)
		}
		if at, err := parseFuture("start-by", s, testNow()); err == nil && s != "" && at.IsZero() && s[0] != '0' {
			t.Errorf("%q is no time", s)
		}
	})
}
