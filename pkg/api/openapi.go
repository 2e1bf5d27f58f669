package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/invopop/jsonschema"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The parts of an OpenAPI 3.1 document that parkd uses (https://spec.openapis.org/oas/v3.1.0).
type (
	openAPI struct {
		OpenAPI    string                          `json:"openapi"`
		Info       info                            `json:"info"`
		Security   []map[string][]string           `json:"security"`
		Paths      map[string]map[string]operation `json:"paths"`
		Components components                      `json:"components"`
	}
	info struct {
		Title       string `json:"title"`
		Description string `json:"description"`
		Version     string `json:"version"`
	}
	components struct {
		Schemas         map[string]*jsonschema.Schema `json:"schemas"`
		SecuritySchemes map[string]map[string]string  `json:"securitySchemes"`
	}
	operation struct {
		OperationID string              `json:"operationId"`
		Summary     string              `json:"summary"`
		Parameters  []apiParameter      `json:"parameters,omitempty"`
		RequestBody *content            `json:"requestBody,omitempty"`
		Responses   map[string]response `json:"responses"`
	}
	apiParameter struct {
		Name        string             `json:"name"`
		In          string             `json:"in"`
		Description string             `json:"description,omitempty"`
		Required    bool               `json:"required,omitempty"`
		Schema      *jsonschema.Schema `json:"schema"`
	}
	content struct {
		Content map[string]media `json:"content"`
	}
	response struct {
		Description string           `json:"description"`
		Content     map[string]media `json:"content,omitempty"`
	}
	media struct {
		Schema *jsonschema.Schema `json:"schema"`
	}
)

// document returns the OpenAPI document, made from the table of routes and the types that they name.
func document(version string) ([]byte, error) {
	if version == "" {
		version = "devel"
	}
	s := schemas{all: map[string]*jsonschema.Schema{}}
	doc := openAPI{
		OpenAPI: "3.1.0",
		Info: info{
			Title: "parkd", Version: version,
			Description: "Runs what fits into a pool's units, parks the rest, keeps every outcome.",
		},
		Security: []map[string][]string{{}, {"bearer": {}}},
		Paths:    map[string]map[string]operation{},
	}
	for _, rt := range routes() {
		if doc.Paths[rt.path] == nil {
			doc.Paths[rt.path] = map[string]operation{}
		}
		doc.Paths[rt.path][strings.ToLower(rt.method)] = s.operation(rt)
	}
	doc.Components = components{
		Schemas:         s.all,
		SecuritySchemes: map[string]map[string]string{"bearer": {"type": "http", "scheme": "bearer"}},
	}
	b, err := json.MarshalIndent(doc, "", " ")
	return bytes.ReplaceAll(b, []byte(`"#/$defs/`), []byte(`"#/components/schemas/`)), err
}

func (s *schemas) operation(rt route) operation {
	op := operation{OperationID: operationID(rt), Summary: rt.summary, Responses: map[string]response{
		"default": {Description: "What went wrong", Content: map[string]media{"application/problem+json": {s.of(typeOf[problem]())}}},
	}}
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(rt.path, -1) {
		op.Parameters = append(op.Parameters, apiParameter{Name: m[1], In: "path", Required: true, Schema: text("")})
	}
	for _, name := range rt.query {
		p := parameters()[name]
		schema := text(p.format)
		if p.number {
			schema = &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: json.Number(strconv.Itoa(maxLimit))}
		}
		op.Parameters = append(op.Parameters, apiParameter{Name: name, In: "query", Description: p.text, Schema: schema})
	}
	if rt.body != nil {
		op.RequestBody = &content{Content: map[string]media{"application/json": {s.body(rt.body)}}}
	}
	good := response{Description: http.StatusText(rt.success())}
	switch {
	case rt.answer != nil:
		good.Content = map[string]media{"application/json": {s.of(rt.answer)}}
	case rt.content != "":
		good.Content = map[string]media{rt.content: {text("")}}
	}
	op.Responses[strconv.Itoa(rt.success())] = good
	return op
}

// operationID names an operation after its method and path: getPoolsPoolIdTasks.
func operationID(rt route) string {
	words := strings.FieldsFunc(strings.ToLower(rt.method)+" "+rt.path, func(r rune) bool { return !unicode.IsLetter(r) })
	for i := range words[1:] {
		words[i+1] = strings.ToUpper(words[i+1][:1]) + words[i+1][1:]
	}
	return strings.Join(words, "")
}

// schemas collects the schemas that are referred to.
type schemas struct{ all map[string]*jsonschema.Schema }

// of returns a reference to the schema of an answer's type, which may grow.
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
	return &jsonschema.Schema{Ref: root.Ref}
}

func schemaName(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	return strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
}

// special returns the schemas of types that read and write themselves.
func (s *schemas) special(t reflect.Type) *jsonschema.Schema {
	switch t {
	case typeOf[park.Time]():
		return text("date-time")
	case typeOf[park.Duration]():
		return &jsonschema.Schema{Type: "string", Description: "A duration with a unit, such as 30s, 10m or 7d"}
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
		return object("tasks", property{"tasks", list(s.body(typeOf[park.Submission]()))})
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
	return slices.Clip(out)
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
