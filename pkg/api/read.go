package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/parkd-dev/parkd/pkg/park"
)

// fields has the fields of all structs that bodies are read into.
type fields map[reflect.Type][]field

type field struct {
	name     string
	index    int
	nonEmpty bool // may be left out, but must not be empty
}

// mailboxObject is a mailbox reference in its long form.
type mailboxObject struct {
	Tenant    string `json:"tenant"`
	UserID    string `json:"userId"`
	SessionID string `json:"sessionId"`
}

func (f fields) add(t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		f.add(t.Elem())
	case reflect.Struct:
		if f[t] != nil {
			return
		}
		f[t] = []field{}
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			// An empty id or tenant usually comes from a variable that was not set.
			filled := t == typeOf[park.Submission]() && (name == "taskId" || name == "tenant")
			f[t] = append(f[t], field{name, i, filled})
			f.add(t.Field(i).Type)
		}
	default:
	}
}

// read decodes one JSON value into v, strictly: every name is one of the type's fields, spelt as it is, and stands there
// once. A field that is null counts as left out. The error names all that is wrong, by its path below root.
//
// The walk over objects and lists is our own, because [jsonv2.Unmarshal] stops at the first fault, takes null as an entry of
// a list, and is as strict within a payload, which parkd keeps as it is, as outside.
func (f fields) read(b []byte, v any, root string) *park.Error {
	if !utf8.Valid(b) {
		return park.Errorf(park.InvalidRequest, "the body is not UTF-8")
	}
	r := reader{fields: f, root: root}
	err := r.all(b, v)
	if errors.Is(err, io.EOF) {
		return park.Errorf(park.InvalidRequest, "the body is empty")
	}
	if err == nil {
		if _, err = r.ReadToken(); errors.Is(err, io.EOF) {
			return r.err()
		}
	}
	if bad, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return park.Errorf(park.InvalidRequest, "the body is not JSON: %v (at byte %d)", bad.Err, bad.ByteOffset)
	}
	if err == nil {
		err = errors.New("more than one value")
	}
	return park.Errorf(park.InvalidRequest, "the body is not JSON: %v", err)
}

// reader walks once over a body. Its methods return an error only if the body is not JSON.
type reader struct {
	jsontext.Decoder
	fields     fields
	root       string // the path of the body's value
	scratch    []byte
	faults     []string // the faults found
	moreFaults int      // the number of faults beyond maxFaults
}

// all reads a document, of which the value is the beginning.
func (r *reader) all(b []byte, v any) error {
	r.Reset(bytes.NewBuffer(b), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return r.element(reflect.ValueOf(v).Elem())
}

// element reads a value that cannot be left out.
func (r *reader) element(v reflect.Value) error {
	if r.PeekKind() != 'n' || v.Type() == typeOf[jsontext.Value]() {
		return r.value(v)
	}
	raw, err := r.ReadValue()
	r.mismatch(v.Type(), raw)
	return err
}

func (r *reader) value(v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	to := v.Addr().Interface()
	_, reads := to.(json.Unmarshaler)
	switch kind := r.PeekKind(); {
	case kind == '{' && v.Kind() == reflect.Struct && !reads:
		return r.object(v)
	case kind == '[' && v.Kind() == reflect.Slice && !reads:
		return r.list(v)
	}
	raw, err := r.ReadValue()
	if err != nil {
		return err
	}
	switch to := to.(type) {
	case *jsontext.Value: // in the memory of the body
		*to = raw
	case *park.MailboxRef:
		r.mailbox(raw, to)
	case json.Unmarshaler:
		r.addError(to.UnmarshalJSON(raw))
	case encoding.TextUnmarshaler: // also told what is no text: it knows what would be right
		text := string(raw)
		if raw.Kind() == '"' {
			text, _ = r.unquote(raw)
		}
		r.addError(to.UnmarshalText([]byte(quote(text))))
	default:
		r.scalar(v, raw)
	}
	return nil
}

func (r *reader) object(v reflect.Value) error {
	known := r.fields[v.Type()]
	var seen uint64
	_, _ = r.ReadToken() // the brace
	for r.PeekKind() != '}' {
		raw, err := r.ReadValue()
		if err != nil {
			return err
		}
		r.scratch, _ = jsontext.AppendUnquote(r.scratch[:0], raw)
		at := slices.IndexFunc(known, func(f field) bool { return f.name == string(r.scratch) })
		switch {
		case at < 0:
			r.unknown(string(r.scratch), known)
			err = r.SkipValue()
		case seen&(1<<at) != 0:
			r.add("is given twice")
			err = r.SkipValue()
		default:
			seen |= 1 << at
			err = r.field(known[at], v.Field(known[at].index))
		}
		if err != nil {
			return err
		}
	}
	_, err := r.ReadToken()
	return err
}

func (r *reader) field(f field, v reflect.Value) error {
	kind := r.PeekKind()
	if kind == 'n' && v.Type() != typeOf[json.RawMessage]() {
		return r.SkipValue()
	}
	err := r.value(v)
	if f.nonEmpty && kind == '"' && v.Len() == 0 {
		r.add("must not be empty; leave it out instead")
	}
	return err
}

func (r *reader) list(v reflect.Value) error {
	_, _ = r.ReadToken() // the bracket
	n := 0
	for ; r.PeekKind() != ']'; n++ {
		var err error
		if n < park.MaxBatch {
			v.Grow(1)
			v.SetLen(n + 1)
			err = r.element(v.Index(n))
		} else {
			err = r.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := r.ReadToken()
	if n > park.MaxBatch {
		r.add("must not have more than " + strconv.Itoa(park.MaxBatch) + " entries, but has " + strconv.Itoa(n))
	}
	return err
}

// scalar reads a value whose type has no decoder of its own.
func (r *reader) scalar(v reflect.Value, raw jsontext.Value) {
	switch {
	case v.Kind() == reflect.String && raw.Kind() == '"':
		v.SetString(r.text(raw))
	case v.Kind() == reflect.String, jsonv2.Unmarshal(raw, v.Addr().Interface()) != nil:
		r.mismatch(v.Type(), raw)
	}
}

// mailbox reads a mailbox reference. Its long form has fields of its own.
func (r *reader) mailbox(raw jsontext.Value, to *park.MailboxRef) {
	before := len(r.faults) + r.moreFaults
	switch raw.Kind() {
	case '"':
		_ = r.text(raw)
	case '{':
		inner := reader{fields: r.fields, root: r.path(), faults: r.faults, moreFaults: r.moreFaults}
		_ = inner.all(raw, new(mailboxObject)) // raw is JSON
		r.faults, r.moreFaults = inner.faults, inner.moreFaults
	default:
	}
	if len(r.faults)+r.moreFaults == before {
		r.addError(to.UnmarshalJSON(raw))
	}
}

// text reads a string. It refuses what parkd cannot keep: half of a surrogate pair, which would be replaced and make
// two different texts equal, and NUL, which no command line and no database accepts.
func (r *reader) text(raw jsontext.Value) string {
	s, err := r.unquote(raw)
	if err != nil || strings.IndexByte(s, 0) >= 0 {
		r.add("contains an invalid character: NUL, or half of a surrogate pair")
	}
	return s
}

func (r *reader) unquote(raw jsontext.Value) (string, error) {
	var err error
	r.scratch, err = jsontext.AppendUnquote(r.scratch[:0], raw)
	return string(r.scratch), err
}
