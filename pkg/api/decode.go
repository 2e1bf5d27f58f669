package api

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	// maxFaults is how many faults an answer names.
	maxFaults = 16
	// maxFault is how many bytes an answer has for one of them.
	maxFault = 600
	// maxQuote is how many bytes of a request an answer quotes.
	maxQuote = 60
)

// decode reads one JSON value into v, a pointer to sh's type, strictly: every field is one of the type's, spelt
// as it is, and stands there once. A field that is null counts as left out. The error names all that is
// wrong, by its path.
func decode(b []byte, sh *shape, v any) error {
	if err := park.CheckDocument(b); err != nil {
		return notJSON(b, err)
	}
	if err := read(b, sh, v, ""); err != nil {
		return err
	}
	return nil
}

// notJSON says of a body that is refused where it ceases to be JSON, if that is why.
func notJSON(b []byte, why error) error {
	if !utf8.Valid(b) {
		return park.Errorf(park.InvalidRequest, "the body %v", why)
	}
	var v any
	err := json.Unmarshal(b, &v)
	if at, ok := errors.AsType[*json.SyntaxError](err); ok {
		return park.Errorf(park.InvalidRequest, "the body is not JSON: %v (at byte %d)", err, at.Offset)
	}
	return park.Errorf(park.InvalidRequest, "the body is not JSON: %v", err)
}

// faults collects what is wrong with a body.
type faults struct {
	root string // the path of the body's value
	path []step
	told []string
	more int
}

// step leads from a value to one inside it.
type step struct {
	name  []byte // as it stands, with its quotes; nil for a place in a list
	index int
}

// here returns the path of the value that is being read.
func (f *faults) here() string {
	b := []byte(f.root)
	for _, s := range f.path {
		switch {
		case s.name == nil:
			b = append(b, '[')
			b = strconv.AppendInt(b, int64(s.index), 10)
			b = append(b, ']')
			continue
		case len(b) > 0:
			b = append(b, '.')
		}
		b = append(b, short(unquote(s.name))...)
	}
	if len(b) == 0 {
		return "the body"
	}
	return string(b)
}

// add notes what is wrong with the value that is being read.
func (f *faults) add(what string) {
	if len(f.told) == maxFaults {
		f.more++
		return
	}
	f.told = append(f.told, f.here()+" "+park.Cut(what, maxFault))
}

// unknown notes a field that sh does not have.
func (f *faults) unknown(key []byte, sh *shape) {
	what := "is not a known field"
	if len(f.told) < maxFaults { // a suggestion is work
		what += suggest(unquote(key), sh)
	}
	f.add(what)
}

// typeMismatch notes that raw is not what sh wants.
func (f *faults) typeMismatch(sh *shape, raw []byte) {
	f.add("must be " + sh.want + ", not " + short(string(raw)))
}

func (f *faults) err() *park.Error {
	if len(f.told) == 0 {
		return nil
	}
	all := strings.Join(f.told, "; ")
	if f.more > 0 {
		all += "; and " + strconv.Itoa(f.more) + " more"
	}
	return park.Errorf(park.InvalidRequest, "%s", all)
}

// suggest names the field that was perhaps meant.
func suggest(key string, sh *shape) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	names := make([]string, len(sh.fields))
	for i, f := range sh.fields {
		if nearly(plain(f.name), plain(key)) {
			return "; did you mean " + f.name + "?"
		}
		names[i] = f.name
	}
	slices.Sort(names)
	return "; known fields: " + strings.Join(names, ", ")
}

// nearly reports whether one change of neighbouring letters makes two words of more than three letters equal.
func nearly(a, b string) bool {
	if a == b {
		return true
	}
	from, short, long := 0, min(len(a), len(b)), max(len(a), len(b))
	for from < short && a[from] == b[from] {
		from++
	}
	to := 0
	for to < short-from && a[len(a)-1-to] == b[len(b)-1-to] {
		to++
	}
	return short > 3 && from+to >= long-1
}

// short cuts what is quoted from a request.
func short(s string) string { return park.Cut(s, maxQuote) }

// unquote returns the text that a JSON string stands for.
func unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	if !slices.Contains(inner, '\\') {
		return string(inner)
	}
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}
