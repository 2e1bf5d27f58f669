package api

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

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

// path returns the path of the value that was read last.
func (r *reader) path() string {
	path, level := r.root, 0
	for name := range r.StackPointer().Tokens() {
		level++
		if kind, _ := r.StackIndex(level); kind == '[' {
			path += "[" + name + "]"
			continue
		}
		if path != "" {
			path += "."
		}
		path += quote(name)
	}
	if path == "" {
		return "the body"
	}
	return path
}

// add records what is wrong with the value that was read last.
func (r *reader) add(what string) {
	if len(r.faults) >= maxFaults {
		r.moreFaults++
		return
	}
	r.faults = append(r.faults, r.path()+" "+park.Cut(what, maxFault))
}

// unknown records a name that is none of the fields.
func (r *reader) unknown(name string, known []field) {
	what := "is not a known field"
	if len(r.faults) < maxFaults { // a suggestion costs time
		what += suggest(name, known)
	}
	r.add(what)
}

// mismatch records that raw is not a value for the type.
func (r *reader) mismatch(t reflect.Type, raw []byte) {
	r.add("must be " + describeType(t) + ", not " + quote(string(raw)))
}

// addError records the error of a type's own decoder, which may begin with the field's name.
func (r *reader) addError(err error) {
	if err != nil {
		r.add(strings.TrimPrefix(err.Error(), r.StackPointer().LastToken()+" "))
	}
}

// err returns all recorded faults, or nil.
func (r *reader) err() *park.Error {
	if len(r.faults) == 0 {
		return nil
	}
	all := strings.Join(r.faults, "; ")
	if r.moreFaults > 0 {
		all += "; and " + strconv.Itoa(r.moreFaults) + " more"
	}
	return park.Errorf(park.InvalidRequest, "%s", all)
}

// describeType describes what a type is decoded from.
func describeType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "an object"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return "a list of strings"
		}
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	default:
		return "a whole number"
	}
}

// suggest names the field that was probably meant.
func suggest(name string, known []field) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	names := make([]string, len(known))
	for i, f := range known {
		if similar(plain(f.name), plain(name)) {
			return "; did you mean " + f.name + "?"
		}
		names[i] = f.name
	}
	slices.Sort(names)
	return "; known fields: " + strings.Join(names, ", ")
}

// similar reports whether two words of more than three letters differ by at most one change of neighbouring letters.
func similar(a, b string) bool {
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

// quote shortens a quotation from a request.
func quote(s string) string { return park.Cut(s, maxQuote) }
