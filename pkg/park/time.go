package park

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// timeLayout is RFC 3339 with a fixed number of digits, so that times also sort as text.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// Time is an instant on the wire: RFC 3339, UTC, microseconds.
type Time struct{ time.Time }

// At returns t as parkd keeps it: UTC, cut to microseconds, without a monotonic reading.
func At(t time.Time) Time {
	if t.IsZero() {
		return Time{}
	}
	return Time{t.UTC().Truncate(time.Microsecond)}
}

// FromMicro returns the instant us microseconds after the Unix epoch; 0 is the zero Time.
func FromMicro(us int64) Time {
	if us == 0 {
		return Time{}
	}
	return Time{time.UnixMicro(us).UTC()}
}

// Micro returns t in microseconds since the Unix epoch; 0 for the zero Time.
func (t Time) Micro() int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// String returns t as it is written on the wire.
func (t Time) String() string { return t.UTC().Format(timeLayout) }

// ParseTime reads an RFC 3339 time. The first instant of the year 1 is refused: as the zero Time it would stand for none.
func ParseTime(s string) (Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if y := t.UTC().Year(); err != nil || y < 0 || y > 9999 { // in UTC it may be a year that cannot be written
		return Time{}, fmt.Errorf("must be an RFC 3339 time such as 2026-12-01T10:00:00Z, not %q", cut(s))
	}
	at := At(t)
	if at.IsZero() {
		return Time{}, fmt.Errorf("must be later than the first instant of the year 1, but is %q", cut(s))
	}
	return at, nil
}

// MarshalJSON implements [json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) {
	if y := t.Year(); y < 0 || y > 9999 {
		return nil, errors.New("time is outside the years 0 to 9999")
	}
	b := make([]byte, 0, len(timeLayout)+2)
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, timeLayout)
	return append(b, '"'), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	// What parses as a time holds nothing that JSON writes otherwise, so a decoder is needed for the rest alone.
	if n := len(b) - 1; n > 0 && b[0] == '"' && b[n] == '"' {
		if at, err := ParseTime(string(b[1:n])); err == nil {
			*t = at
			return nil
		}
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("must be an RFC 3339 time such as \"2026-12-01T10:00:00Z\", not %s", cut(string(b)))
	}
	var err error
	*t, err = ParseTime(s)
	return err
}

// Duration is a span of time on the wire and in the configuration: text with a unit, such as "30s" or "1h30m".
type Duration time.Duration

// String returns d with its units.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

// MaxDuration bounds what clients and configurations may say: far from where a sum of two of them, or of one and an
// instant, would wrap.
const MaxDuration = 36500 * 24 * time.Hour

// ParseDuration reads a duration that is not negative, not longer than [MaxDuration], and carries a unit; "7d" means seven
// times 24 hours.
func ParseDuration(s string) (Duration, error) {
	v, err := time.ParseDuration(s)
	if n, ok := strings.CutSuffix(s, "d"); ok && err != nil {
		v, err = parseDays(n)
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("must be a duration with a unit, such as 30s, 10m, 1h30m or 7d, and at most 36500d, not %q", cut(s))
	case v < 0:
		return 0, fmt.Errorf("must not be negative, but is %q", cut(s))
	case v > MaxDuration:
		return 0, fmt.Errorf("must be at most 36500d, not %q", cut(s))
	}
	return Duration(v), nil
}

// parseDays reads a number of days. A number so large that it cannot be held is an error.
func parseDays(s string) (time.Duration, error) {
	days, err := strconv.ParseFloat(s, 64)
	if limit := float64(2 * MaxDuration / (24 * time.Hour)); err != nil || math.IsNaN(days) || days > limit || days < -limit {
		return 0, errors.New("is not a number of days")
	}
	return time.Duration(days * 24 * float64(time.Hour)), nil
}
