package api

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// form is the JSON that a type is read from.
type form int

const (
	asAnything form = iota // kept as it stands
	asVerbatim             // as it stands, in the body's own memory
	asObject
	asList
	asText
	asWhole
	asFraction
	asTruth
	asOwnJSON // reads itself from JSON
	asOwnText // reads itself from text
)

// shape is a type taken apart once, so that bodies are read without looking at types again.
type shape struct {
	form   form
	typ    reflect.Type // without pointers
	want   string       // what would be right, for people
	fields []member     // of an object
	item   *shape       // of a list
	// inside is what to hold an object against that reads itself.
	inside *shape
}

// member is a field of an object.
type member struct {
	*shape
	name   string
	index  int
	filled bool // may be left out, but is not empty where it stands
}

// verbatim is a part of a body, in the body's memory.
type verbatim []byte

// mailboxObject is a mailbox reference in its long form.
type mailboxObject struct {
	Tenant    string `json:"tenant"`
	UserID    string `json:"userId"`
	SessionID string `json:"sessionId"`
}

func shapeOf(t reflect.Type) *shape {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s := &shape{typ: t}
	s.form, s.want = formOf(t)
	switch s.form {
	case asObject:
		s.fields = membersOf(t)
	case asList:
		s.item = shapeOf(t.Elem())
		s.want = "a list"
		if s.item.form == asText {
			s.want = "a list of strings"
		}
	case asOwnJSON:
		if t == typeOf[park.MailboxRef]() {
			s.inside = shapeOf(typeOf[mailboxObject]())
		}
	default:
	}
	return s
}

func formOf(t reflect.Type) (form, string) {
	p := reflect.PointerTo(t)
	switch {
	case t == typeOf[json.RawMessage]():
		return asAnything, ""
	case t == typeOf[verbatim]():
		return asVerbatim, ""
	case p.Implements(typeOf[json.Unmarshaler]()):
		return asOwnJSON, ""
	case p.Implements(typeOf[encoding.TextUnmarshaler]()):
		return asOwnText, ""
	}
	switch t.Kind() {
	case reflect.Struct:
		return asObject, "an object"
	case reflect.Slice:
		return asList, "a list"
	case reflect.String:
		return asText, "a string"
	case reflect.Int, reflect.Int64:
		return asWhole, "a whole number"
	case reflect.Float64:
		return asFraction, "a number"
	case reflect.Bool:
		return asTruth, "true or false"
	default:
		panic("a body cannot be read into " + t.String())
	}
}

// membersOf returns the fields that a struct has on the wire.
func membersOf(t reflect.Type) []member {
	var all []member
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			// What names something: an empty text is a variable that somebody forgot to set.
			filled := t == typeOf[park.Submission]() && (name == "taskId" || name == "tenant")
			all = append(all, member{shapeOf(f.Type), name, i, filled})
		}
	}
	return all
}

// find returns the place of the field that a key names, letter by letter; -1 where there is none. The key
// stands in its quotes.
func (s *shape) find(key []byte) int {
	name := key[1 : len(key)-1]
	for i := range s.fields {
		if s.fields[i].name == string(name) {
			return i
		}
	}
	return s.findEscaped(key)
}

// findEscaped is find for a key that may be written with escapes.
func (s *shape) findEscaped(key []byte) int {
	if !slices.Contains(key, '\\') {
		return -1
	}
	name := unquote(key)
	return slices.IndexFunc(s.fields, func(m member) bool { return m.name == name })
}
