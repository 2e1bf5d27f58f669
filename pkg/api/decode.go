package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/park"
)

// decode reads one JSON value into v, strictly: every field must be one of v's, spelt as it is, and stand there
// once. The error names all fields that are wrong, as path.to.field below at.
//
// A good body is read by encoding/json alone, once its keys have been looked at; only what is wrong is taken
// apart field by field, to say where.
func decode(b []byte, v any, at string) error {
	if !utf8.Valid(b) {
		return park.Errorf(park.InvalidRequest, "%s is not UTF-8", orBody(at))
	}
	if err := wellFormed(b, at); err != nil {
		return err
	}
	s := &scan{b: b}
	s.value(shapeOf(reflect.TypeOf(v).Elem()), at)
	if len(s.faults) == 0 {
		if json.Unmarshal(b, v) == nil {
			return nil
		}
		s.faults = misfits(b, reflect.TypeOf(v).Elem(), at, nil)
	}
	if len(s.faults) == 0 {
		s.faults = []string{orBody(at) + " cannot be read"}
	}
	return park.Errorf(park.InvalidRequest, "%s", strings.Join(s.faults, "; "))
}

func orBody(at string) string {
	if at == "" {
		return "the body"
	}
	return at
}

func wellFormed(b []byte, at string) error {
	if json.Valid(b) {
		return nil
	}
	var v any
	err := json.Unmarshal(b, &v)
	return park.Errorf(park.InvalidRequest, "%s is not JSON: %v", orBody(at), err)
}

// shape is what a value may look like: an object with these fields, a list of those, or (nil) anything.
type shape struct {
	fields map[string]*shape
	item   *shape
}

// shapeOf returns the shape of what is decoded into a type. Types that read themselves look after themselves,
// but for mailbox references, whose object form has fields to check like any other.
func shapeOf(t reflect.Type) *shape {
	if t.Kind() == reflect.Pointer {
		return shapeOf(t.Elem())
	}
	if t == reflect.TypeFor[park.MailboxRef]() {
		return &shape{fields: map[string]*shape{"tenant": nil, "userId": nil, "sessionId": nil}}
	}
	if readsItself(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		s := &shape{fields: make(map[string]*shape)}
		for f := range fieldsOf(t) {
			s.fields[f.name] = shapeOf(f.Type)
		}
		return s
	case reflect.Slice:
		return &shape{item: shapeOf(t.Elem())}
	default:
		return nil
	}
}

func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

type field struct {
	reflect.StructField
	name string
}

// fieldsOf yields the fields that a struct has on the wire.
func fieldsOf(t reflect.Type) func(yield func(field) bool) {
	return func(yield func(field) bool) {
		for f := range t.Fields() {
			f := f
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && name != "-" && !yield(field{f, name}) {
				return
			}
		}
	}
}

// scan walks over JSON that is known to be valid and notes the fields that should not be there.
type scan struct {
	b      []byte
	i      int
	faults []string
}

func (s *scan) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *scan) value(sh *shape, at string) {
	s.space()
	switch s.b[s.i] {
	case '{':
		s.object(sh, at)
	case '[':
		s.list(sh, at)
	case '"':
		s.text()
	default:
		s.literal()
	}
}

// literal passes over a number, true, false or null.
func (s *scan) literal() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return
		}
		s.i++
	}
}

// text returns the text that stands there, with its quotes.
func (s *scan) text() []byte {
	from := s.i
	for s.i++; s.b[s.i] != '"'; s.i++ {
		if s.b[s.i] == '\\' {
			s.i++
		}
	}
	s.i++
	return s.b[from:s.i]
}

func (s *scan) list(sh *shape, at string) {
	var item *shape
	if sh != nil {
		item = sh.item
	}
	s.i++
	for n := 0; ; n++ {
		if s.space(); s.b[s.i] == ']' {
			s.i++
			return
		}
		here := at
		if item != nil {
			here = at + "[" + strconv.Itoa(n) + "]"
		}
		s.value(item, here)
		if s.space(); s.b[s.i] == ',' {
			s.i++
		}
	}
}

func (s *scan) object(sh *shape, at string) {
	checked := sh != nil && sh.fields != nil
	var seen []string
	s.i++
	for {
		if s.space(); s.b[s.i] == '}' {
			s.i++
			return
		}
		raw := s.text()
		s.space()
		s.i++ // the colon
		var below *shape
		here := at
		if checked {
			key := unquote(raw)
			here = join(at, key)
			var known bool
			if below, known = sh.fields[key]; !known {
				s.faults = append(s.faults, fmt.Sprintf("%s is not known%s", here, suggest(key, sh)))
			}
			if slices.Contains(seen, key) {
				s.faults = append(s.faults, here+" stands there twice")
			}
			seen = append(seen, key)
		}
		s.value(below, here)
		if s.space(); s.b[s.i] == ',' {
			s.i++
		}
	}
}

func unquote(raw []byte) string {
	if !bytes.ContainsRune(raw, '\\') {
		return string(raw[1 : len(raw)-1])
	}
	var text string
	_ = json.Unmarshal(raw, &text)
	return text
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// suggest names the field that was perhaps meant.
func suggest(key string, sh *shape) string {
	names := make([]string, 0, len(sh.fields))
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	for name := range sh.fields {
		if plain(name) == plain(key) {
			return "; did you mean " + name + "?"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return "; there are " + strings.Join(names, ", ")
}

// misfits decodes each field by itself and says which do not fit.
func misfits(b []byte, t reflect.Type, at string, faults []string) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct && !readsItself(t) {
		var object map[string]json.RawMessage
		if json.Unmarshal(b, &object) != nil || object == nil {
			return append(faults, orBody(at)+" must be an object")
		}
		for f := range fieldsOf(t) {
			if raw, ok := object[f.name]; ok {
				faults = misfits(raw, f.Type, join(at, f.name), faults)
			}
		}
		return faults
	}
	err := json.Unmarshal(b, reflect.New(t).Interface())
	if err == nil {
		return faults
	}
	return append(faults, at+" "+expectation(t, err, at, b))
}

// expectation says what would be right. What types say of themselves begins at times with the field's name.
func expectation(t reflect.Type, err error, at string, b []byte) string {
	if typed := (*json.UnmarshalTypeError)(nil); !asType(err, &typed) && readsItself(t) {
		last := at[strings.LastIndexByte(at, '.')+1:]
		return strings.TrimPrefix(err.Error(), last+" ")
	}
	return fmt.Sprintf("must be %s, not %s", kindOf(t), short(b))
}

func asType(err error, to **json.UnmarshalTypeError) bool {
	e, ok := err.(*json.UnmarshalTypeError) //nolint:errorlint // encoding/json returns it as it is
	*to = e
	return ok
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a list of " + strings.TrimPrefix(kindOf(t.Elem()), "a ") + "s"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Int, reflect.Int8, reflect.Int64:
		if readsItself(t) {
			return "text"
		}
		return "a whole number"
	default:
		return "something else"
	}
}

func short(b []byte) string {
	if len(b) > 60 {
		return string(b[:60]) + "…"
	}
	return string(b)
}
