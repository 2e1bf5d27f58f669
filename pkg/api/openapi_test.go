package api

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// spec is an OpenAPI document as a client reads it.
type spec struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string
		Parameters  []struct {
			Name, In string
			Required bool
			Schema   map[string]any
		}
		RequestBody *struct {
			Required bool
			Content  map[string]struct{ Schema map[string]any }
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema map[string]any }
			Headers map[string]struct{ Schema map[string]any }
		}
	}
	Components struct{ Schemas map[string]map[string]any }
}

func readSpec(t *testing.T, h http.Handler) spec {
	t.Helper()
	var s spec
	r := ask{method: "GET", path: "/openapi.json"}.to(t, h).is(200, &s)
	if !strings.HasPrefix(s.OpenAPI, "3.1.") {
		t.Errorf("OpenAPI %s", s.OpenAPI)
	}
	for _, m := range regexp.MustCompile(`"\$ref": "([^"]*)"`).FindAllStringSubmatch(r.body, -1) {
		name, ok := strings.CutPrefix(m[1], "#/components/schemas/")
		if !ok || s.Components.Schemas[name] == nil {
			t.Errorf("%s leads nowhere", m[1])
		}
	}
	return s
}

// TestDocumentHasEveryRoute, and no other; each with its parameters, its body and a good answer.
func TestDocumentHasEveryRoute(t *testing.T) {
	a := newAPI(t, Config{})
	s := readSpec(t, a.TCP())
	count := 0
	ids := map[string]bool{}
	for _, methods := range s.Paths {
		count += len(methods)
	}
	if count != len(a.routes) {
		t.Errorf("%d operations, %d routes", count, len(a.routes))
	}
	for _, rt := range a.routes {
		op, ok := s.Paths[rt.path][strings.ToLower(rt.method)]
		if !ok || ids[op.OperationID] {
			t.Errorf("%s %s is not there, or its id %q twice", rt.method, rt.path, op.OperationID)
		}
		ids[op.OperationID] = true
		var inPath, inQuery []string
		for _, p := range op.Parameters {
			if p.Schema["type"] == nil {
				t.Errorf("%s %s: parameter %s has no type", rt.method, rt.path, p.Name)
			}
			if p.In == "path" {
				inPath = append(inPath, "{"+p.Name+"}")
			} else {
				inQuery = append(inQuery, p.Name)
			}
		}
		if !slices.Equal(inPath, regexp.MustCompile(`\{\w+\}`).FindAllString(rt.path, -1)) || !slices.Equal(inQuery, rt.query) {
			t.Errorf("%s %s: parameters %v %v", rt.method, rt.path, inPath, inQuery)
		}
		if (op.RequestBody != nil) != (rt.body != nil) || op.Responses[strconv.Itoa(rt.status)].Content == nil && rt.status != 204 || op.Responses["default"].Content == nil {
			t.Errorf("%s %s: body %v, responses %v", rt.method, rt.path, op.RequestBody, op.Responses)
		}
	}
}

// TestParametersAreUsed: what the table of parameters knows, some route has, and the other way round.
func TestParametersAreUsed(t *testing.T) {
	used := map[string]bool{}
	for _, rt := range routes(Limits{}.orDefault()) {
		for _, name := range rt.query {
			used[name] = true
			if parameters()[name].text == "" {
				t.Errorf("%s %s: nothing says what %s is", rt.method, rt.path, name)
			}
		}
	}
	if len(used) != len(parameters()) {
		t.Errorf("%d parameters are used, %d are known", len(used), len(parameters()))
	}
}

// TestAnswersAreAsDocumented does one of everything and holds each answer, and each body that was sent, against
// the document.
func TestAnswersAreAsDocumented(t *testing.T) {
	a := newAPI(t, Config{Version: "1"})
	h := a.Socket()
	s := readSpec(t, h)
	seen := map[*route]bool{}
	do := func(method, path, body string) string {
		t.Helper()
		return s.check(t, a, h, ask{method: method, path: path, body: body}, seen)
	}
	do("POST", "/pools/work/tasks", ``)
	do("POST", "/pools/work/tasks", sample)
	do("POST", "/pools/work/tasks", `{"taskId":"h","mailboxKey":{"tenant":"acme","userId":"u","sessionId":"s"},"payload":{"hold":true},"resourceCost":{"kind":"cpu","units":4},"timeoutSecs":60,"retry":{"maxAttempts":2,"backoff":"1s"},"deadline":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`)
	do("POST", "/pools/work/tasks", `{"taskId":"q","priority":"low","mailboxKey":"k"}`)
	do("POST", "/pools/wide/tasks:batch", `{"tasks":[{},{"taskId":"x"},{"resourceCost":{"units":5000}}]}`)
	do("GET", "/pools/work/tasks/h", "")
	do("GET", "/pools/work/tasks/q?wait=1ms", "")
	do("GET", "/pools/work/tasks?limit=1", "")
	do("DELETE", "/pools/work/tasks/h", "")
	do("DELETE", "/pools/work/tasks/h", "")
	do("GET", "/pools/work/tasks/q?wait=1m", "")
	do("GET", "/pools/work/tasks/q/log?follow=true", "")
	do("GET", "/mailbox/default/k", "")
	do("DELETE", "/mailbox/default/k?upTo=1", "")
	do("GET", "/audit?limit=3", "")
	do("GET", "/audit?pool=work&action=cancel", "")
	do("GET", "/pools", "")
	do("GET", "/pools/work", "")
	do("PATCH", "/pools/work", `{"state":"paused","maxUnits":5,"maxQueueDepth":0}`)
	do("GET", "/audit?action=update", "")
	for _, of := range []string{"", "/events?limit=3", "/tasks?limit=1", "/messages"} {
		do("GET", "/pools/work/evidence"+of, "")
	}
	do("POST", "/pools/remote/tasks", `{"command":["x"],"workDir":"/","payload":{"a":1}}`)
	var page park.LeasePage
	if err := json.Unmarshal([]byte(do("POST", "/pools/remote/leases", `{"worker":"w","max":2,"ttl":"30s","wait":"1s"}`)), &page); err != nil || len(page.Leases) != 1 {
		t.Fatalf("leases %+v %v", page, err)
	}
	do("PUT", "/leases/"+page.Leases[0].LeaseID, `{"ttl":"1m","progress":0.5}`)
	do("POST", "/leases/"+page.Leases[0].LeaseID+"/complete", `{"status":"failed","reason":"r","message":"m","payload":[1]}`)
	do("POST", "/pools/remote/tasks", `{"payload":{"a":2}}`)
	page = park.LeasePage{}
	if err := json.Unmarshal([]byte(do("POST", "/pools/remote/leases", `{"worker":"w","wait":"1s"}`)), &page); err != nil || len(page.Leases) != 1 {
		t.Fatalf("leases %+v %v", page, err)
	}
	do("POST", "/leases/"+page.Leases[0].LeaseID+"/release", `{"message":"the worker stops"}`)
	for _, path := range []string{"/health", "/livez", "/readyz", "/metrics", "/openapi.json"} {
		do("GET", path, "")
	}
	for _, rt := range a.routes {
		if !seen[rt] && rt.content != "text/event-stream" {
			t.Errorf("%s %s was not tried", rt.method, rt.path)
		}
	}
}

func (s spec) check(t *testing.T, a *API, h http.Handler, q ask, seen map[*route]bool) string {
	t.Helper()
	rt := routeOf(a, q.request())
	if rt == nil {
		t.Fatalf("no route for %s %s", q.method, q.path)
	}
	seen[rt] = true
	op := s.Paths[rt.path][strings.ToLower(rt.method)]
	if q.body != "" && q.body != sample {
		s.fits(t, q.path+" body", op.RequestBody.Content["application/json"].Schema, q.body)
	}
	r := q.to(t, h)
	answer, ok := op.Responses[strconv.Itoa(r.code)]
	if !ok {
		answer = op.Responses["default"]
	}
	if len(answer.Content) == 0 {
		if r.body != "" {
			t.Errorf("%s: answered %s", r.asked, r.body)
		}
		return ""
	}
	documented, ok := answer.Content[r.Get("Content-Type")]
	if !ok {
		t.Errorf("%s: %d %s is not documented", r.asked, r.code, r.Get("Content-Type"))
	}
	if strings.HasSuffix(r.Get("Content-Type"), "json") && rt.content == "" {
		s.fits(t, r.asked, documented.Schema, r.body)
	}
	return r.body
}

func routeOf(a *API, r *http.Request) *route {
	mux := http.NewServeMux()
	var found *route
	for _, rt := range a.routes {
		mux.HandleFunc(rt.method+" "+rt.path, func(http.ResponseWriter, *http.Request) { found = rt })
	}
	mux.ServeHTTP(httptest.NewRecorder(), r)
	return found
}

// fits checks a JSON text against a schema.
func (s spec) fits(t *testing.T, at string, schema map[string]any, text string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v in %s", at, err, text)
	}
	for _, fault := range s.faults(schema, v, at) {
		t.Error(fault)
	}
}

// faults is as much of JSON Schema as the document uses.
func (s spec) faults(schema map[string]any, v any, at string) (all []string) {
	fault := func(format string, args ...any) { all = append(all, at+" "+fmt.Sprintf(format, args...)) }
	for word, want := range schema {
		switch word {
		case "$ref":
			all = append(all, s.faults(s.Components.Schemas[strings.TrimPrefix(want.(string), "#/components/schemas/")], v, at)...)
		case "type":
			if got := typeName(v); got != want && (want != "number" || got != "integer") {
				fault("is %s, not %s", got, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				fault("is %v, not one of %v", v, want)
			}
		case "oneOf":
			fit := 0
			for _, one := range want.([]any) {
				if len(s.faults(one.(map[string]any), v, at)) == 0 {
					fit++
				}
			}
			if fit != 1 {
				fault("fits %d of %v", fit, want)
			}
		case "minimum", "maximum":
			if n, ok := v.(float64); ok && (word == "minimum" && n < want.(float64) || word == "maximum" && n > want.(float64)) {
				fault("is %v, %s %v", n, word, want)
			}
		case "pattern":
			if !regexp.MustCompile(want.(string)).MatchString(v.(string)) {
				fault("is %v, not %s", v, want)
			}
		case "format":
			if _, err := time.Parse(time.RFC3339, fmt.Sprint(v)); want == "date-time" && err != nil {
				fault("is %v", v)
			}
		case "items":
			for i, item := range v.([]any) {
				all = append(all, s.faults(want.(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))...)
			}
		case "required":
			for _, name := range want.([]any) {
				if object, ok := v.(map[string]any); ok && object[name.(string)] == nil {
					fault("lacks %s", name)
				}
			}
		case "properties", "additionalProperties":
			all = append(all, s.properties(schema, v, at)...)
		case "minItems", "maxItems", "minLength", "maxLength", "description", "examples":
		default:
			fault("has a schema with %s, which the test does not know", word)
		}
	}
	return all
}

// properties checks an object's fields; those that are not documented are a fault here too.
func (s spec) properties(schema map[string]any, v any, at string) (all []string) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil // the type says so
	}
	known, _ := schema["properties"].(map[string]any)
	for name, value := range object {
		switch sub := known[name].(type) {
		case map[string]any:
			all = append(all, s.faults(sub, value, at+"."+name)...)
		case nil:
			all = append(all, fmt.Sprintf("%s.%s is not documented", at, name))
		}
	}
	return all
}

func typeName(v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}
