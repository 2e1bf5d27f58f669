package api

import (
	"encoding/json"
	"maps"
	"reflect"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/parkd-dev/parkd/pkg/park"
)

// schemas collects the schemas that are referred to.
type schemas struct{ all map[string]*jsonschema.Schema }

// of returns a reference to the schema of an answer's type. Later versions may add fields to it.
func (s *schemas) of(t reflect.Type) *jsonschema.Schema { return s.add(t, true) }

// body returns a reference to the schema of a body's type, which has no other fields.
func (s *schemas) body(t reflect.Type) *jsonschema.Schema { return s.add(t, false) }

func (s *schemas) add(t reflect.Type, grows bool) *jsonschema.Schema {
	r := jsonschema.Reflector{Anonymous: true, Mapper: s.special, Namer: schemaName, AllowAdditionalProperties: grows}
	root := r.ReflectFromType(t)
	root.Version = ""
	if root.Ref == "" {
		return root
	}
	maps.Copy(s.all, root.Definitions)
	s.refine()
	return &jsonschema.Schema{Ref: root.Ref}
}

// refine adds to a schema what the types of its fields do not say.
func (s *schemas) refine() {
	for name, schema := range map[string]*jsonschema.Schema{
		"Submission.taskId":       {Type: "string", Pattern: "^[A-Za-z0-9._:-]{1,128}$"},
		"Submission.tenant":       {Type: "string", MinLength: new(uint64(1)), MaxLength: new(uint64(park.MaxNameLength))},
		"Submission.createdAt":    {Type: "string", Format: "date-time", Description: "The client's time, for information only"},
		"Submission.deadline":     {Type: "string", Format: "date-time", Description: "The task expires if it has not started by this time"},
		"Retry.maxAttempts":       whole(1, 1000),
		"PoolPatch.maxUnits":      whole(0, park.MaxUnits),
		"PoolPatch.maxQueueDepth": whole(0, park.MaxQueueDepth),
		"KeepRequest.progress":    {Type: "number", Minimum: "0", Maximum: "1"},
		"LeaseResult.status":      words(string(park.Completed), string(park.Failed)),
		"LeaseEnded.status":       words(string(park.Completed), string(park.Failed)),
	} {
		of, field, _ := strings.Cut(name, ".")
		if s.all[of] != nil {
			s.all[of].Properties.Set(field, schema)
		}
	}
}

func schemaName(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	return strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
}

// special returns the schemas of types with their own encoding.
func (s *schemas) special(t reflect.Type) *jsonschema.Schema {
	switch t {
	case typeOf[park.Time]():
		return text("date-time")
	case typeOf[park.Duration]():
		return &jsonschema.Schema{Type: "string", Examples: []any{"30s"}}
	case typeOf[park.Units]():
		return whole(1, park.MaxUnits)
	case typeOf[park.Seconds]():
		return whole(1, park.MaxTimeoutSecs)
	case typeOf[park.Priority]():
		return words("low", "normal", "high", "critical")
	case typeOf[park.Status]():
		return words(names(park.Statuses())...)
	case typeOf[park.Kind]():
		return words(names(park.Kinds())...)
	case typeOf[park.PoolState]():
		return words(names(park.PoolStates())...)
	case typeOf[park.Backend]():
		return words(names(park.Backends())...)
	case typeOf[park.Action]():
		return words(names(park.Actions())...)
	case typeOf[json.RawMessage]():
		return &jsonschema.Schema{Description: "Any JSON"}
	case typeOf[park.MailboxRef]():
		return mailboxRef()
	case typeOf[batch]():
		tasks := list(s.body(typeOf[park.Submission]()))
		tasks.MinItems, tasks.MaxItems = new(uint64(1)), new(uint64(park.MaxBatch))
		return object("tasks", property{"tasks", tasks})
	case typeOf[batchAnswer]():
		either := &jsonschema.Schema{OneOf: []*jsonschema.Schema{s.of(typeOf[park.Accepted]()), s.of(typeOf[problem]())}}
		return object("results", property{"results", list(either)})
	}
	return nil
}

func mailboxRef() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		text(""),
		object("userId", property{"tenant", text("")}, property{"userId", text("")}, property{"sessionId", text("")}),
	}}
}

func text(format string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Format: format}
}

func whole(least, most int64) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "integer", Minimum: json.Number(strconv.FormatInt(least, 10)), Maximum: json.Number(strconv.FormatInt(most, 10)),
	}
}

func words(all ...string) *jsonschema.Schema {
	s := text("")
	for _, w := range all {
		s.Enum = append(s.Enum, w)
	}
	return s
}

func names[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = string(v)
	}
	return out
}

func list(item *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: item}
}

// property is a named part of an object.
type property struct {
	name   string
	schema *jsonschema.Schema
}

func object(required string, all ...property) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "object", Required: []string{required}, Properties: jsonschema.NewProperties()}
	for _, p := range all {
		s.Properties.Set(p.name, p.schema)
	}
	return s
}
