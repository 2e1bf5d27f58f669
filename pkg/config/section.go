package config

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// reader collects the faults of a file.
type reader struct{ faults Faults }

func (r *reader) fault(path, format string, args ...any) {
	r.faults = append(r.faults, Fault{Path: path, Problem: fmt.Sprintf(format, args...)})
}

func (r *reader) hasFaults(prefix string) bool {
	for _, f := range r.faults {
		if strings.HasPrefix(f.Path, prefix) {
			return true
		}
	}
	return false
}

// section is an object of the file. Each read records its key as known, and finish reports the unknown keys.
type section struct {
	r     *reader
	path  string
	tree  map[string]any // nil if there is none
	known map[string]bool
}

func (s section) at(key string) string {
	if s.path == "" {
		return key
	}
	return s.path + "." + key
}

func (s section) fault(key, format string, args ...any) { s.r.fault(s.at(key), format, args...) }

func (s section) has(key string) bool {
	_, ok := s.tree[key]
	return ok
}

func (s section) keys() []string { return sortedKeys(s.tree) }

func (s section) get(key string) (any, bool) {
	s.known[key] = true
	v, ok := s.tree[key]
	return v, ok
}

// section returns the object at key, or an empty one.
func (s section) section(key string) section {
	v, ok := s.get(key)
	tree, object := v.(map[string]any)
	if ok && !object {
		s.fault(key, "must be an object, not %s", describe(v))
	}
	return section{r: s.r, path: s.at(key), tree: tree, known: map[string]bool{}}
}

// sections returns the objects of the list at key.
func (s section) sections(key string) []section {
	v, ok := s.get(key)
	list, isList := v.([]any)
	if ok && !isList {
		s.fault(key, "must be a list, not %s", describe(v))
	}
	out := make([]section, 0, len(list))
	for i, one := range list {
		path := fmt.Sprintf("%s[%d]", s.at(key), i)
		tree, object := one.(map[string]any)
		if !object {
			s.r.fault(path, "must be an object, not %s", describe(one))
			continue
		}
		out = append(out, section{r: s.r, path: path, tree: tree, known: map[string]bool{}})
	}
	return out
}

// text returns the text at key, or "" if there is none. An empty text in the file is a fault: usually a template has
// inserted a variable that is not set, and this must not count as a setting left out.
func (s section) text(key string) string {
	v, ok := s.get(key)
	if !ok {
		return ""
	}
	text, isText := v.(string)
	switch {
	case !isText:
		s.fault(key, "must be a string, not %s", describe(v))
	case text == "":
		s.fault(key, "is empty: give a value, or leave it out")
	default:
		s.checkText(s.at(key), text)
	}
	return text
}

// checkText refuses text that the system or a database does not accept.
func (s section) checkText(path, text string) {
	if strings.ContainsRune(text, 0) {
		s.r.fault(path, "must not contain a zero byte")
	}
}

// texts returns the list at key, or nil if there is none. A text of the list may be empty.
func (s section) texts(key string) []string {
	v, ok := s.get(key)
	if !ok {
		return nil
	}
	list, isList := v.([]any)
	if !isList {
		s.fault(key, `must be a list of strings such as ["a","b"], not %s`, describe(v))
		return nil
	}
	out := make([]string, len(list))
	for i, one := range list {
		path := fmt.Sprintf("%s[%d]", s.at(key), i)
		text, isText := one.(string)
		if !isText {
			s.r.fault(path, "must be a string, not %s", describe(one))
		}
		s.checkText(path, text)
		out[i] = text
	}
	return out
}

// required is the default of a number that must be given.
const required = math.MinInt64

func (s section) integer(key string, byDefault, least, most int64) int64 {
	v, ok := s.get(key)
	if !ok {
		if byDefault == required {
			s.fault(key, "is required: a whole number from %d to %d", least, most)
		}
		return byDefault
	}
	if !isNumber(v) {
		s.fault(key, "must be a whole number from %d to %d, not %s", least, most, describe(v))
		return least
	}
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	if err != nil || n < least || n > most {
		s.fault(key, "must be a whole number from %d to %d, not %v", least, most, v)
		return least
	}
	return n
}

func (s section) boolean(key string, byDefault bool) bool {
	v, ok := s.get(key)
	if !ok {
		return byDefault
	}
	is, isFlag := v.(bool)
	if !isFlag {
		s.fault(key, "must be true or false, not %s", describe(v))
	}
	return is
}

func (s section) duration(key string, byDefault, most time.Duration) time.Duration {
	v, ok := s.get(key)
	if !ok {
		return byDefault
	}
	text, isText := v.(string)
	if !isText {
		s.fault(key, "must be a duration with a unit, such as \"30s\", \"10m\" or \"7d\", not %s", describe(v))
		return byDefault
	}
	d, err := park.ParseDuration(text)
	switch {
	case err != nil:
		s.fault(key, "must be a duration that is not negative and has a unit, such as \"30s\", \"10m\" or \"7d\"")
		return byDefault
	case time.Duration(d) > most:
		s.fault(key, "must be at most %s, not %s", most, d)
		return byDefault
	}
	return time.Duration(d)
}

func oneOf[T ~string](s section, key string, words []T, byDefault T) T {
	v, ok := s.get(key)
	if !ok {
		return byDefault
	}
	text, _ := v.(string)
	names := make([]string, len(words))
	for i, w := range words {
		if text == string(w) {
			return w
		}
		names[i] = string(w)
	}
	what := describe(v)
	if isPlainWord(text) {
		what = strconv.Quote(text)
	}
	s.fault(key, "must be one of %s, not %s", strings.Join(names, ", "), what)
	return ""
}

// isPlainWord reports whether text is a short word, such as the name of a backend or a kind, and not a secret.
func isPlainWord(text string) bool {
	for _, c := range text {
		if c != '_' && c != '-' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return text != "" && len(text) < minToken
}

// finish reports the keys that nothing has read.
func (s section) finish() {
	for _, key := range s.keys() {
		if s.known[key] {
			continue
		}
		if near := s.nearest(key); near != "" {
			s.fault(key, "unknown setting; did you mean %s?", near)
			continue
		}
		s.fault(key, "unknown setting; known settings: %s", strings.Join(sortedKeys(s.known), ", "))
	}
}

// nearest returns the known key of which key looks like a misspelling.
func (s section) nearest(key string) string {
	best, least := "", 3
	for _, known := range sortedKeys(s.known) {
		if d := distance(strings.ToLower(key), known); d < least {
			best, least = known, d
		}
	}
	return best
}

// distance returns the Levenshtein distance of two texts.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// describe says what kind of value the file has, without the value: it may be a secret in the wrong place.
func describe(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "true or false"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	if isNumber(v) {
		return "a number"
	}
	return "a date or time"
}

// isNumber reports whether v is a number in any of the formats.
func isNumber(v any) bool {
	switch v.(type) {
	case json.Number, int, int64, uint64, float64:
		return true
	}
	return false
}
