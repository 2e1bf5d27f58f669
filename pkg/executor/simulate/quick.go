package simulate

import (
	"bytes"
	"strconv"
)

// quick reads the orders of load tests without the cost of reading any: a number of milliseconds and then a result, in
// this order and spacing. It reports whether that is what payload, which is JSON, holds; anything else is left to the
// decoder.
func quick(payload []byte, o *order) bool {
	rest, ok := bytes.CutPrefix(payload, []byte(`{"durationMs":`))
	if !ok {
		return false
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	ms, err := strconv.ParseInt(string(rest[:digits]), 10, 64)
	if err != nil || ms > maxDurationMs {
		return false
	}
	rest = rest[digits:]
	if string(rest) == "}" {
		o.DurationMs = float64(ms)
		return true
	}
	result, ok := bytes.CutPrefix(rest, []byte(`,"result":`))
	end := valueEnd(result)
	if !ok || end < 0 || string(result[end:]) != "}" {
		return false
	}
	o.DurationMs, o.Result = float64(ms), result[:end]
	return true
}

// valueEnd returns where the JSON value at the beginning of b ends, and -1 where it does not or has spaces around it.
func valueEnd(b []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case depth == 0 && (c == ',' || c == '}' || c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			return i
		case c == '}' || c == ']':
			depth--
		}
	}
	return -1
}
