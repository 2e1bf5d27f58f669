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

// here returns the path of the value that was read last.
func (r *reader) here() string {
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
		path += short(name)
	}
	if path == "" {
		return "the body"
	}
	return path
}

// add notes what is wrong with the value that was read last.
func (r *reader) add(what string) {
	if len(r.told) >= maxFaults {
		r.more++
		return
	}
	r.told = append(r.told, r.here()+" "+park.Cut(what, maxFault))
}

// unknown notes a name that is none of the fields.
func (r *reader) unknown(name string, known []field) {
	what := "is not a known field"
	if len(r.told) < maxFaults { // a suggestion is work
		what += suggest(name, known)
	}
	r.add(what)
}

// mismatch notes that raw is not what is read into a type.
func (r *reader) mismatch(t reflect.Type, raw []byte) {
	r.add("must be " + want(t) + ", not " + short(string(raw)))
}

// refused notes what a type says of a value. At times that begins with the field's name.
func (r *reader) refused(err error) {
	if err != nil {
		r.add(strings.TrimPrefix(err.Error(), r.StackPointer().LastToken()+" "))
	}
}

// err returns all that was noted, or nil.
func (r *reader) err() *park.Error {
	if len(r.told) == 0 {
		return nil
	}
	all := strings.Join(r.told, "; ")
	if r.more > 0 {
		all += "; and " + strconv.Itoa(r.more) + " more"
	}
	return park.Errorf(park.InvalidRequest, "%s", all)
}

// want says for people what a type is read from.
func want(t reflect.Type) string {
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

// suggest names the field that was perhaps meant.
func suggest(name string, known []field) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	names := make([]string, len(known))
	for i, f := range known {
		if nearly(plain(f.name), plain(name)) {
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
