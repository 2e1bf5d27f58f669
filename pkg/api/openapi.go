package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/invopop/jsonschema"
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
		Required bool             `json:"required,omitempty"`
		Content  map[string]media `json:"content"`
	}
	response struct {
		Description string               `json:"description"`
		Headers     map[string]apiHeader `json:"headers,omitempty"`
		Content     map[string]media     `json:"content,omitempty"`
	}
	apiHeader struct {
		Description string             `json:"description"`
		Schema      *jsonschema.Schema `json:"schema"`
	}
	media struct {
		Schema *jsonschema.Schema `json:"schema"`
	}
)

// document returns the OpenAPI document, made from the table of routes and the types that they name.
func document(version string, routes []*route) ([]byte, error) {
	if version == "" {
		version = "devel"
	}
	s := schemas{all: map[string]*jsonschema.Schema{}}
	doc := openAPI{
		OpenAPI: "3.1.0",
		Info: info{
			Title: "parkd", Version: version,
			Description: "Starts the tasks that fit into a pool's units, parks the rest, and keeps every outcome. " +
				"A request field that is null counts as left out. An unknown field is refused. " +
				"Durations have a unit: 30s, 10m, 1h30m, 7d.",
		},
		Security: []map[string][]string{{}, {"bearer": {}}},
		Paths:    map[string]map[string]operation{},
	}
	for _, rt := range routes {
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

func (s *schemas) operation(rt *route) operation {
	op := operation{OperationID: operationID(rt), Summary: rt.summary, Responses: map[string]response{
		"default": {Description: "What went wrong", Content: map[string]media{"application/problem+json": {s.of(typeOf[problem]())}}},
	}}
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(rt.path, -1) {
		op.Parameters = append(op.Parameters, apiParameter{Name: m[1], In: "path", Required: true, Schema: text("")})
	}
	for _, name := range rt.query {
		p := parameters()[name]
		op.Parameters = append(op.Parameters, apiParameter{Name: name, In: "query", Description: p.text, Required: p.required, Schema: p.schema()})
	}
	if rt.body != nil {
		op.RequestBody = &content{Required: rt.required, Content: map[string]media{"application/json": {s.body(rt.body)}}}
	}
	success := response{Description: http.StatusText(rt.status)}
	for _, h := range rt.headers {
		if success.Headers == nil {
			success.Headers = map[string]apiHeader{}
		}
		success.Headers[h.name] = apiHeader{h.text, &jsonschema.Schema{Type: "integer", Minimum: "0"}}
	}
	switch {
	case rt.answer != nil:
		success.Content = map[string]media{"application/json": {s.of(rt.answer)}}
	case rt.content != "":
		success.Content = map[string]media{rt.content: {text("")}}
	}
	if rt.public {
		// Their answer to a request without a token is one word.
		success.Content["text/plain; charset=utf-8"] = media{text("")}
		op.Responses["default"].Content["text/plain; charset=utf-8"] = media{text("")}
	}
	op.Responses[strconv.Itoa(rt.status)] = success
	return op
}

func (p parameter) schema() *jsonschema.Schema {
	switch {
	case p.number && p.zero:
		return &jsonschema.Schema{Type: "integer", Minimum: "0"}
	case p.number:
		return &jsonschema.Schema{Type: "integer", Minimum: "1"}
	case p.words != nil:
		return words(p.words...)
	}
	return text(p.format)
}

// operationID names an operation after its method and path: getPoolsPoolIdTasks.
func operationID(rt *route) string {
	words := strings.FieldsFunc(strings.ToLower(rt.method)+" "+rt.path, func(r rune) bool { return !unicode.IsLetter(r) })
	for i := range words[1:] {
		words[i+1] = strings.ToUpper(words[i+1][:1]) + words[i+1][1:]
	}
	return strings.Join(words, "")
}
