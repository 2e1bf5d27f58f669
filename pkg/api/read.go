package api

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// read is decode for what is known to be JSON. The value stands at the path root.
func read(b []byte, sh *shape, v any, root string) *park.Error {
	r := reader{b: b, faults: faults{root: root, path: make([]step, 0, 8)}}
	r.space()
	if r.null() {
		r.typeMismatch(sh, r.skip())
	} else {
		r.value(sh, reflect.ValueOf(v).Elem())
	}
	return r.err()
}

// reader walks once over JSON that is known to be valid.
type reader struct {
	b       []byte
	i       int
	deepest int // level of what skip has passed over
	faults
}

func (r *reader) space() {
	for r.i < len(r.b) && (r.b[r.i] == ' ' || r.b[r.i] == '\n' || r.b[r.i] == '\t' || r.b[r.i] == '\r') {
		r.i++
	}
}

func (r *reader) null() bool { return r.b[r.i] == 'n' }

// empty reports whether the value that begins here is an empty text.
func (r *reader) empty() bool { return r.b[r.i] == '"' && r.b[r.i+1] == '"' }

// skip passes over the value that begins here and returns it as it stands.
func (r *reader) skip() []byte {
	from, depth := r.i, 0
	for {
		switch r.b[r.i] {
		case '{', '[':
			depth++
			r.deepest = max(r.deepest, depth)
			r.i++
		case '}', ']':
			depth--
			r.i++
		case '"':
			r.quoted()
		case ',', ':', ' ', '\t', '\r', '\n':
			r.i++
			continue // the only bytes that end nothing
		default:
			r.literal()
		}
		if depth == 0 {
			return r.b[from:r.i]
		}
	}
}

// quoted passes over a string.
func (r *reader) quoted() {
	for r.i++; r.b[r.i] != '"'; r.i++ {
		if r.b[r.i] == '\\' {
			r.i++
		}
	}
	r.i++
}

// literal passes over a number, true, false or null.
func (r *reader) literal() {
	for r.i < len(r.b) {
		switch r.b[r.i] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return
		}
		r.i++
	}
}

// value reads the value that begins here.
func (r *reader) value(sh *shape, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(sh.typ))
		v = v.Elem()
	}
	switch c := r.b[r.i]; {
	case sh.form == asObject && c == '{':
		r.object(sh, v)
	case sh.form == asList && c == '[':
		r.list(sh, v)
	case sh.form == asText && c == '"':
		v.SetString(r.text())
	case sh.form == asAnything:
		r.deepest = 0
		v.SetBytes(slices.Clone(r.skip()))
		if r.deepest > park.MaxDepth {
			r.add("is nested deeper than " + strconv.Itoa(park.MaxDepth) + " levels")
		}
	case sh.form == asVerbatim:
		v.SetBytes(r.skip())
	case sh.form == asOwnJSON:
		r.ownJSON(sh, v)
	case sh.form == asOwnText:
		r.ownText(v)
	default:
		if raw := r.skip(); !scalar(raw, sh.form, v) {
			r.typeMismatch(sh, raw)
		}
	}
}

// scalar sets v to a number, true or false. It returns false where raw is none.
func scalar(raw []byte, f form, v reflect.Value) bool {
	switch f {
	case asWhole:
		n, err := strconv.ParseInt(string(raw), 10, v.Type().Bits())
		v.SetInt(n)
		return err == nil
	case asFraction:
		n, err := strconv.ParseFloat(string(raw), 64)
		v.SetFloat(n)
		return err == nil
	case asTruth:
		v.SetBool(raw[0] == 't')
		return raw[0] == 't' || raw[0] == 'f'
	default:
		return false
	}
}

func (r *reader) object(sh *shape, v reflect.Value) {
	var seen uint64
	r.i++
	for r.space(); r.b[r.i] != '}'; r.space() {
		key := r.skip()
		r.space()
		r.i++ // the colon
		r.space()
		r.path = append(r.path, step{name: key})
		at := sh.find(key)
		switch {
		case at < 0:
			r.unknown(key, sh)
			r.skip()
		case seen&(1<<at) != 0:
			r.add("is given twice")
			r.skip()
		case r.null() && sh.fields[at].form != asAnything:
			r.skip()
		case r.empty() && sh.fields[at].filled:
			r.skip()
			r.add("must not be empty; leave it out instead")
		default:
			r.value(sh.fields[at].shape, v.Field(sh.fields[at].index))
		}
		if at >= 0 {
			seen |= 1 << at
		}
		r.next()
	}
	r.i++
}

func (r *reader) list(sh *shape, v reflect.Value) {
	r.i++
	n := 0
	for r.space(); r.b[r.i] != ']'; r.space() {
		r.path = append(r.path, step{index: n})
		switch {
		case n >= park.MaxBatch:
			r.skip()
		case r.null() && sh.item.form != asVerbatim:
			r.typeMismatch(sh.item, r.skip())
		default:
			v.Grow(1)
			v.SetLen(v.Len() + 1)
			r.value(sh.item, v.Index(v.Len()-1))
		}
		n++
		r.next()
	}
	r.i++
	if n > park.MaxBatch {
		r.add("must not have more than " + strconv.Itoa(park.MaxBatch) + " entries, but has " + strconv.Itoa(n))
	}
}

// next leaves the value that has been read, and the comma behind it.
func (r *reader) next() {
	r.path = r.path[:len(r.path)-1]
	r.space()
	if r.b[r.i] == ',' {
		r.i++
	}
}

// text reads a string into what is text for parkd too: no half of a surrogate pair, which would be replaced
// and make two texts one, and no NUL, which no command line and no database takes.
func (r *reader) text() string {
	raw := r.skip()
	s := unquote(raw)
	if len(raw) == len(s)+2 {
		return s
	}
	if strings.ContainsRune(s, 0) || strings.Count(s, "\uFFFD") != replacements(raw) {
		r.add("contains an invalid character: NUL, or half of a surrogate pair")
	}
	return s
}

// replacements counts the replacement characters that were sent as such.
func replacements(raw []byte) int {
	s := string(raw)
	n := strings.Count(s, "\uFFFD")
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if i++; s[i] == 'u' && strings.EqualFold(s[i:i+5], "ufffd") {
			n++
		}
	}
	return n
}

// ownJSON reads a value by its type's own UnmarshalJSON.
func (r *reader) ownJSON(sh *shape, v reflect.Value) {
	from, before := r.i, len(r.told)
	switch c := r.b[r.i]; {
	case c == '"':
		r.text()
	case c == '{' && sh.inside != nil:
		r.value(sh.inside, reflect.New(sh.inside.typ).Elem())
	default:
		r.skip()
	}
	if len(r.told) > before {
		return
	}
	r.refused(v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(r.b[from:r.i]))
}

// ownText reads a value by its type's own UnmarshalText, which is also asked about what is no text: it knows
// what would be right.
func (r *reader) ownText(v reflect.Value) {
	raw := r.skip()
	if raw[0] == '"' {
		raw = []byte(unquote(raw))
	}
	r.refused(v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(short(string(raw)))))
}

// refused notes what a type says of a value. At times that begins with the field's name.
func (r *reader) refused(err error) {
	if err == nil {
		return
	}
	what := err.Error()
	if n := len(r.path); n > 0 && r.path[n-1].name != nil {
		what = strings.TrimPrefix(what, unquote(r.path[n-1].name)+" ")
	}
	r.add(what)
}
