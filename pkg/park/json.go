package park

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// How JSON is checked, which each payload and each result is on its way.

const (
	// MaxDepth is how deep a payload or a result may nest. What reads it stands it in documents of its own, and many
	// readers of JSON go no deeper than some hundred levels.
	MaxDepth = 500
	// maxNesting is how deep any JSON may nest, as in encoding/json.
	maxNesting = 10000
)

// ValidJSON reports whether b is JSON that parkd keeps; see [CheckJSON].
func ValidJSON(b []byte) bool { return CheckJSON(b) == nil }

// CheckJSON is the one check of JSON that parkd keeps, wherever it comes from: one value after RFC 8259, in UTF-8, nested
// no deeper than [MaxDepth]. Its error says what is wrong, without a subject. How long it may be is for who keeps it to say.
func CheckJSON(b []byte) error {
	return checkJSON(b, MaxDepth)
}

// CheckDocument is CheckJSON for a document that may hold such JSON somewhere inside: it may nest as deep as
// encoding/json can read.
func CheckDocument(b []byte) error { return checkJSON(b, maxNesting) }

// checkJSON takes less than half the time of [encoding/json.Valid]: the bytes of each payload and each result pass
// through it up to three times.
func checkJSON(b []byte, most int) error {
	if !utf8.Valid(b) {
		return errors.New("is not UTF-8")
	}
	i := jsonValue(b, jsonSpace(b, 0), most)
	switch {
	case i == tooDeep:
		return fmt.Errorf("is nested deeper than %d levels", most)
	case i < 0 || jsonSpace(b, i) != len(b):
		return errors.New("is not JSON")
	}
	return nil
}

// What the functions below return where b is not what it should be.
const (
	notJSON = -1
	tooDeep = -2
)

func jsonSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// jsonValue and the following return where the part of b ends that begins at i. levels is how many more there may be.
func jsonValue(b []byte, i, levels int) int {
	if i == len(b) {
		return notJSON
	}
	switch b[i] {
	case '{':
		return jsonList(b, i+1, levels-1, '}')
	case '[':
		return jsonList(b, i+1, levels-1, ']')
	case '"':
		return jsonText(b, i+1)
	case 't':
		return jsonWord(b, i, "true")
	case 'f':
		return jsonWord(b, i, "false")
	case 'n':
		return jsonWord(b, i, "null")
	default:
		return jsonNumber(b, i)
	}
}

// jsonList passes over the members of an object or the entries of an array, and over what closes it.
func jsonList(b []byte, i, levels int, end byte) int {
	if levels < 0 {
		return tooDeep
	}
	if i = jsonSpace(b, i); i < len(b) && b[i] == end {
		return i + 1
	}
	for {
		if end == '}' {
			if i = jsonName(b, i); i < 0 {
				return i
			}
		}
		if i = jsonValue(b, jsonSpace(b, i), levels); i < 0 {
			return i
		}
		switch i = jsonSpace(b, i); {
		case i == len(b):
			return notJSON
		case b[i] == end:
			return i + 1
		case b[i] != ',':
			return notJSON
		}
		i++
	}
}

// jsonName passes over the name of a member and its colon.
func jsonName(b []byte, i int) int {
	if i = jsonSpace(b, i); i == len(b) || b[i] != '"' {
		return notJSON
	}
	if i = jsonText(b, i+1); i < 0 {
		return notJSON
	}
	if i = jsonSpace(b, i); i == len(b) || b[i] != ':' {
		return notJSON
	}
	return i + 1
}

func jsonText(b []byte, i int) int {
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return notJSON
		case c == '\\':
			if i = jsonEscape(b, i+1); i < 0 {
				return notJSON
			}
		}
	}
	return notJSON
}

// jsonEscape returns the place of the last byte of an escape.
func jsonEscape(b []byte, i int) int {
	if i == len(b) {
		return notJSON
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i
	case 'u':
		for range 4 {
			if i++; i == len(b) || !isHex(b[i]) {
				return notJSON
			}
		}
		return i
	default:
		return notJSON
	}
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func jsonWord(b []byte, i int, word string) int {
	if end := i + len(word); end <= len(b) && string(b[i:end]) == word {
		return end
	}
	return notJSON
}

func jsonNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = jsonDigits(b, i); i < 0 {
		return notJSON
	}
	if i < len(b) && b[i] == '.' {
		if i = jsonDigits(b, i+1); i < 0 {
			return notJSON
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return jsonDigits(b, i)
	}
	return i
}

// jsonDigits passes over one digit or more.
func jsonDigits(b []byte, i int) int {
	from := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	if i == from {
		return notJSON
	}
	return i
}
