package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestBadSubmissions: each is refused, and the field that is wrong is named, with what would be right.
func TestBadSubmissions(t *testing.T) {
	h := newAPI(t, Config{}).Socket()
	for body, words := range map[string][]string{
		`{"taskid":"a"}`:                                          {"taskid is not a known field; did you mean taskId?"},
		`{"task_id":"a"}`:                                         {"did you mean taskId?"},
		`{"TaskId":"a"}`:                                          {"TaskId is not a known field"},
		`{"ta\u0073kId":"a","taskId":"b"}`:                        {"taskId is given twice"},
		`{"priority":"low","x":1,"y":{"z":[2]}}`:                  {"x is not a known field; known fields: ", "y is not a known field", "command, createdAt, deadline"},
		`{"resourceCost":{"unit":8}}`:                             {"resourceCost.unit is not a known field; did you mean units?"},
		`{"resourceCost":{"units":0}}`:                            {"resourceCost.units must be a whole number from 1 to", "not 0"},
		`{"resourceCost":{"units":-1}}`:                           {"resourceCost.units must be", "not -1"},
		`{"resourceCost":{"units":1.5}}`:                          {"resourceCost.units must be", "not 1.5"},
		`{"resourceCost":{"units":1e1}}`:                          {"resourceCost.units must be", "not 1e1"},
		`{"resourceCost":{"units":"8"}}`:                          {"resourceCost.units must be", `not "8"`},
		`{"resourceCost":{"units":true}}`:                         {"resourceCost.units must be"},
		`{"resourceCost":{"units":[8]}}`:                          {"resourceCost.units must be"},
		`{"resourceCost":{"units":-99999999999999999999}}`:        {"resourceCost.units must be"},
		`{"resourceCost":{"units":1,"units":2}}`:                  {"resourceCost.units is given twice"},
		`{"resourceCost":{"kind":"gpu"}}`:                         {"resourceCost.kind must be one of cpu, gpuVram, io, mixed"},
		`{"resourceCost":{"kind":"io"}}`:                          {"kind"}, // not the pool's
		`{"resourceCost":8}`:                                      {"resourceCost must be an object, not 8"},
		`{"resourceCost":[]}`:                                     {"resourceCost must be an object"},
		`{"priority":"urgent"}`:                                   {"priority must be one of low, normal, high, critical"},
		`{"priority":"High"}`:                                     {"priority must be one of"},
		`{"priority":1}`:                                          {"priority must be one of"},
		`{"deadline":"tomorrow"}`:                                 {"deadline must be an RFC 3339 time", `"tomorrow"`},
		`{"deadline":1764579600}`:                                 {"deadline must be an RFC 3339 time"},
		`{"deadline":"2026-12-01"}`:                               {"deadline must be"},
		`{"createdAt":"2026-13-01T00:00:00Z"}`:                    {"createdAt must be"},
		`{"timeoutSecs":0}`:                                       {"timeoutSecs must be a whole number from 1 to"},
		`{"timeoutSecs":"10m"}`:                                   {"timeoutSecs must be"},
		`{"taskId":7}`:                                            {"taskId must be a string, not 7"},
		`{"taskId":{"a":"b"}}`:                                    {"taskId must be a string"},
		`{"taskId":"a b"}`:                                        {"taskId must be 1 to 128 characters"},
		`{"taskId":"` + strings.Repeat("a", 129) + `"}`:           {"taskId must be"},
		`{"taskId":"","tenant":"","mailboxKey":""}`:               {"taskId must not be empty", "tenant must not be empty", "mailboxKey must be a non-empty string"},
		`{"tenant":"a\nb"}`:                                       {"tenant must be"},
		`{"tenant":"a\u0000b"}`:                                   {"tenant contains an invalid character"},
		`{"tenant":"\ud800"}`:                                     {"tenant contains an invalid character"},
		`{"tenant":"\ufffd\uD83D\uDE00\uFFFD"}`:                   nil,
		`{"tenant":"` + strings.Repeat("t", 257) + `"}`:           {"tenant must be"},
		`{"mailboxKey":5}`:                                        {"mailboxKey must be a non-empty string, or"},
		`{"mailboxKey":[]}`:                                       {"mailboxKey must be a non-empty string, or"},
		`{"mailboxKey":"\udfff"}`:                                 {"mailboxKey contains an invalid character"},
		`{"mailboxKey":{"user":"x"}}`:                             {"mailboxKey.user is not a known field; known fields: sessionId, tenant, userId"},
		`{"mailboxKey":{"userId":5}}`:                             {"mailboxKey.userId must be a string, not 5"},
		`{"mailboxKey":{"sessionId":"s"}}`:                        {"mailboxKey must be", "with a userId"},
		`{"mailboxKey":{"userId":"a","userId":"b"}}`:              {"mailboxKey.userId is given twice"},
		`{"tenant":"a","mailboxKey":{"tenant":"b","userId":"u"}}`: {"tenant", "mailboxKey.tenant"},
		`{"mailboxKey":{"userId":"a","sessionId":"b:c"}}`:         {"mailboxKey must not have a colon in its sessionId"},
		`{"mailboxKey":{"userId":"a:b","sessionId":"c"}}`:         {"mailboxKey must not have a colon in its userId"},
		`{"mailboxKey":{"userId":"a:b"}}`:                         {"mailboxKey must not have a colon in its userId"},
		`{"mailboxKey":{"userId":"a","sessionId":":"}}`:           {"mailboxKey must not have a colon in its sessionId"},
		`{"mailboxKey":"a:b:c"}`:                                  nil,
		`{"mailboxKey":{"userId":"a","sessionId":"b"}}`:           nil,
		`{"deadline":"0001-01-01T00:00:00Z"}`:                     {"deadline must be later than"},
		`{"deadline":"0001-01-01T00:00:00.0000001Z"}`:             {"deadline must be later than"},
		`{"deadline":"0001-01-01T02:00:00+02:00"}`:                {"deadline must be later than"},
		`{"createdAt":"0001-01-01T00:00:00Z"}`:                    {"createdAt must be later than"},
		`{"command":"ls"}`:                                        {`command must be a list of strings, not "ls"`},
		`{"command":["ls",5]}`:                                    {"command[1] must be a string, not 5"},
		`{"command":["ls",null]}`:                                 {"command[1] must be a string, not null"},
		`{"command":["a\u0000b"]}`:                                {"command[0] contains an invalid character"},
		`{"workDir":"/tmp"}`:                                      {"workDir needs a command"},
		`{"retry":{"maxAttempts":1.5}}`:                           {"retry.maxAttempts must be a whole number, not 1.5"},
		`{"retry":{"maxAttempts":99999999999999999999}}`:          {"retry.maxAttempts must be a whole number"},
		`{"retry":{"maxAttempts":-1}}`:                            {"retry.maxAttempts must be from 1"},
		`{"retry":{"backoff":10}}`:                                {"retry.backoff must be a duration with a unit"},
		`{"retry":{"backoff":"10"}}`:                              {"retry.backoff must be a duration with a unit"},
		`{"retry":{"backoff":"-1s"}}`:                             {"retry.backoff must not be negative"},
		`{"payload":` + strings.Repeat("[", 501) + strings.Repeat("]", 501) + `}`:                                                      {"payload is nested deeper than 500 levels"},
		`{"payload":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`:                                                      nil,
		`{"payload":null,"taskId":null,"resourceCost":null,"deadline":null,"mailboxKey":null,"retry":{"backoff":null},"command":null}`: nil,
		`{"resourceCost":{"units":0},"priority":5,"nope":1}`:                                                                           {"resourceCost.units must", "priority must", "nope is not a known field"},
	} {
		r := ask{method: "POST", path: "/pools/work/tasks", body: body}.to(t, h)
		if words == nil {
			r.is(202, nil)
		} else {
			r.refused(park.InvalidRequest, words...)
		}
		// In a batch it is the same, below the task's place.
		var all struct{ Results []problem }
		var ok struct{ Results []park.Accepted }
		in := ask{method: "POST", path: "/pools/work/tasks:batch", body: `{"tasks":[` + body + `]}`}.to(t, h)
		if words == nil {
			in.is(200, &ok)
			continue
		}
		in.is(200, &all)
		if all.Results[0].Code != park.InvalidRequest || all.Results[0].Status != 400 {
			t.Errorf("%s in a batch: %s", body, in.body)
		}
		for _, w := range words {
			if !strings.Contains(all.Results[0].Detail, w) {
				t.Errorf("%s in a batch: %q does not say %q", body, all.Results[0].Detail, w)
			}
		}
	}
}

func TestManyFaultsAreCut(t *testing.T) {
	var fields []string
	for i := range 1000 {
		fields = append(fields, fmt.Sprintf(`"%s%d":1`, strings.Repeat("x", 200), i))
	}
	r := ask{method: "POST", path: "/pools/work/tasks", body: "{" + strings.Join(fields, ",") + "}"}.to(t, newAPI(t, Config{}).TCP())
	r.refused(park.InvalidRequest, "and 984 more")
	if len(r.body) > 8<<10 {
		t.Errorf("the answer has %d bytes", len(r.body))
	}
}

// TestFaultsAreCountedTogether: those of an object within the body are among the ones that an answer names.
func TestFaultsAreCountedTogether(t *testing.T) {
	var inner []string
	for i := range 40 {
		inner = append(inner, fmt.Sprintf(`"k%d":1`, i))
	}
	body := `{"command":[` + strings.Repeat("1,", 39) + `1],"mailboxKey":{` + strings.Join(inner, ",") + `}}`
	r := ask{method: "POST", path: "/pools/work/tasks", body: body}.to(t, newAPI(t, Config{}).TCP())
	r.refused(park.InvalidRequest, "; and 64 more")
	if n := strings.Count(r.body, " more"); n != 1 {
		t.Errorf("the answer says %d times how many more there are: %s", n, r.body)
	}
}

// TestOtherRefusals are those of the pool and of what is not in the body.
func TestOtherRefusals(t *testing.T) {
	h := newAPI(t, Config{}).Socket()
	for _, c := range []struct {
		method, path, body string
		code               park.Code
		words              string
	}{
		{"POST", "/pools/nowhere/tasks", "", park.PoolNotFound, "nowhere"},
		{"POST", "/pools/nowhere/tasks:batch", `{"tasks":[{}]}`, park.PoolNotFound, "nowhere"},
		{"POST", "/pools/work/tasks", `{"resourceCost":{"units":5}}`, park.CostExceedsPool, ""},
		{"POST", "/pools/work/tasks", `{"resourceCost":{"units":1099511627777}}`, park.CostExceedsPool, "1099511627777"},
		{"POST", "/pools/work/tasks", `{"resourceCost":{"units":99999999999999999999}}`, park.CostExceedsPool, ""},
		{"POST", "/pools/work/tasks", `{"deadline":"2001-01-01T00:00:00Z"}`, park.DeadlinePast, ""},
		{"POST", "/pools/work/tasks", `{"command":["ls"]}`, park.InvalidRequest, "command"},
		{"POST", "/pools/work/tasks:batch", ``, park.InvalidRequest, "tasks is required"},
		{"POST", "/pools/work/tasks:batch", `{}`, park.InvalidRequest, "tasks is required"},
		{"POST", "/pools/work/tasks:batch", `{"tasks":null}`, park.InvalidRequest, "tasks is required"},
		{"POST", "/pools/work/tasks:batch", `{"tasks":[]}`, park.InvalidRequest, "1 to 10000"},
		{"POST", "/pools/work/tasks:batch", `{"tasks":{}}`, park.InvalidRequest, "tasks must be a list"},
		{"POST", "/pools/work/tasks:batch", `{"tasks":[` + strings.Repeat("{},", 10_000) + `{}]}`, park.InvalidRequest, "tasks must not have more than 10000 entries, but has 10001"},
		{"GET", "/pools/work/tasks?status=gone", "", park.InvalidRequest, "status must be one of queued"},
		{"GET", "/pools/work/tasks?limit=0", "", park.InvalidRequest, "limit must be a whole number of at least 1"},
		{"GET", "/pools/work/tasks?limit=ten&status=x", "", park.InvalidRequest, "limit must be a whole number of at least 1"},
		{"GET", "/pools/work/tasks?cursor=nonsense", "", park.InvalidRequest, "cursor"},
		{"GET", "/pools/work/tasks/a?wait=10", "", park.InvalidRequest, "wait must be a duration with a unit"},
		{"GET", "/pools/work/tasks/a?wait=-1s", "", park.InvalidRequest, "wait must not be negative"},
		{"GET", "/pools/work/tasks/a", "", park.TaskNotFound, "a"},
		{"GET", "/pools/work/tasks/a/log?follow=maybe", "", park.InvalidRequest, "follow must be true or false"},
		{"GET", "/pools/nowhere", "", park.PoolNotFound, "nowhere"},
		{"PATCH", "/pools/work", "", park.InvalidRequest, "state, maxUnits, maxQueueDepth"},
		{"PATCH", "/pools/work", `{"state":"gone"}`, park.InvalidRequest, "state must be one of active, paused, draining"},
		{"PATCH", "/pools/work", `{"maxUnits":-1}`, park.InvalidRequest, "maxUnits must be"},
		{"PATCH", "/pools/work", `{"maxUnits":1.5}`, park.InvalidRequest, "maxUnits must be a whole number, not 1.5"},
		{"PATCH", "/pools/work", `{"maxUnits":"8"}`, park.InvalidRequest, "maxUnits must be a whole number"},
		{"GET", "/mailbox/t/k?limit=0", "", park.InvalidRequest, "limit must"},
		{"GET", "/mailbox/t/k?wait=soon", "", park.InvalidRequest, "wait must"},
		{"GET", "/mailbox/t/k?since=yesterday", "", park.InvalidRequest, "since"},
		{"DELETE", "/mailbox/t/k", "", park.InvalidRequest, "upTo is required"},
		{"DELETE", "/mailbox/t/k?upTo=nonsense", "", park.InvalidRequest, "upTo"},
		{"GET", "/audit?since=24h", "", park.InvalidRequest, "since must be an RFC 3339 time"},
		{"GET", "/audit?until=1&action=begin", "", park.InvalidRequest, "action must be one of submit"},
		{"GET", "/audit?cursor=x", "", park.InvalidRequest, "cursor"},
		{"GET", "/events?action=begin", "", park.InvalidRequest, "action must be one of"},
		{"GET", "/events?cursor=x", "", park.InvalidRequest, "cursor must be an event's id"},
		{"POST", "/pools/remote/leases", `{"ttl":30}`, park.InvalidRequest, "ttl must be a duration with a unit"},
		{"POST", "/pools/remote/leases", `{"max":-1}`, park.InvalidRequest, "max"},
		{"POST", "/pools/remote/leases", `{"max":"1"}`, park.InvalidRequest, "max must be a whole number"},
		{"POST", "/pools/work/leases", ``, park.PoolNotLeased, ""},
		{"PUT", "/leases/nonsense", `{}`, park.LeaseNotFound, ""},
		{"PUT", "/leases/nonsense", `{"progress":"half"}`, park.InvalidRequest, "progress must be a number"},
		{"POST", "/leases/nonsense/complete", `{"status":5}`, park.InvalidRequest, "status must be a string, not 5"},
	} {
		ask{method: c.method, path: c.path, body: c.body}.to(t, h).refused(c.code, c.words)
	}
	ask{method: "GET", path: "/events"}.with("Last-Event-ID", "x").to(t, h).refused(park.InvalidRequest, "Last-Event-ID must be an event's id")
}

// TestQuotesOfBytes: what a refusal quotes of a request may be any bytes, of any length.
func TestQuotesOfBytes(t *testing.T) {
	h := newAPI(t, Config{}).Socket()
	for _, bytes := range []string{strings.Repeat("%80", 61), strings.Repeat("%80", 257), strings.Repeat("%BF", 500), strings.Repeat("%E2%82", 50), strings.Repeat("%F0%9F%98%80", 50)} {
		ask{method: "GET", path: "/pools?" + bytes + "=1"}.to(t, h).refused(park.InvalidRequest, "unknown parameter")
		ask{method: "GET", path: "/pools/work/tasks?limit=" + bytes}.to(t, h).refused(park.InvalidRequest, "limit")
		ask{method: "GET", path: "/mailbox/" + strings.Repeat(bytes, 5) + "/k"}.to(t, h).refused(park.InvalidRequest, "tenant")
		ask{method: "GET", path: "/pools/work/tasks/" + bytes}.to(t, h).refused(park.TaskNotFound)
		ask{method: "GET", path: "/audit?cursor=" + bytes}.to(t, h).refused(park.InvalidRequest, "cursor")
		ask{method: "GET", path: "/" + bytes}.to(t, h).refused(park.RouteNotFound)
	}
}

// TestRefusalsAreShort: a wrong value is quoted, and cut, whatever it stands for.
func TestRefusalsAreShort(t *testing.T) {
	h := newAPI(t, Config{}).Socket()
	long := `[` + strings.Repeat(`"é",`, 50_000) + `1]`
	for _, field := range []string{"timeoutSecs", "deadline", "priority", "taskId", "mailboxKey", "retry", "resourceCost", "command", "x"} {
		r := ask{method: "POST", path: "/pools/work/tasks", body: `{"` + field + `":` + long + `}`}.to(t, h)
		if len(r.body) > 4<<10 && r.code == 400 || r.code >= 500 {
			t.Errorf("%s: %d, an answer of %d bytes", field, r.code, len(r.body))
		}
	}
	r := ask{method: "POST", path: "/pools/work/tasks", body: `{"resourceCost":{"units":` + long + `}}`}.to(t, h).refused(park.InvalidRequest, "units")
	if len(r.body) > 4<<10 {
		t.Errorf("units: an answer of %d bytes", len(r.body))
	}
}

// TestTolerance: what is not wrong is taken.
func TestTolerance(t *testing.T) {
	h := newAPI(t, Config{}).Socket()
	for _, path := range []string{
		"/pools/work/tasks?status=&tenant=&limit=&cursor=", "/pools/work/tasks?limit=1001", "/audit?limit=1000000", "/audit?since=2026-01-01T00:00:00+01:00&until=2026-01-01T00:00:00.5Z",
		"/audit?task=&pool=&tenant=&action=", "/mailbox/t/k?since=2026-01-01T00:00:00%2B01:00&wait=0&limit=1000", "/mailbox/t/k?since=",
	} {
		ask{method: "GET", path: path}.to(t, h).is(200, nil)
	}
	var a park.Accepted
	ask{method: "POST", path: "/pools/wide/tasks"}.to(t, h).is(202, &a)
	if a.Status != park.Running || a.TaskID == "" || a.PoolID != "wide" || a.SubmittedAt.IsZero() {
		t.Errorf("no body: %+v", a)
	}
	ask{method: "POST", path: "/pools/wide/tasks", body: " \n{ } \t"}.to(t, h).is(202, nil)
	ask{method: "POST", path: "/pools/remote/leases"}.to(t, h).is(200, nil)
}

// TestBatchKeepsItsOrder mixes what is wrong in all ways with what is right.
func TestBatchKeepsItsOrder(t *testing.T) {
	h := newAPI(t, Config{Limits: Limits{MaxBody: 4000}}).TCP()
	var tasks []string
	for i := range 200 {
		tasks = append(tasks, []string{
			fmt.Sprintf(`{"taskId":"t-%d"}`, i), `{"nope":1}`, `5`, `null`, `{"resourceCost":{"units":1001}}`,
			`{"command":["x"]}`, `{"payload":"` + strings.Repeat("x", 4000) + `"}`,
		}[i%7])
	}
	var answer struct{ Results []map[string]any }
	ask{method: "POST", path: "/pools/wide/tasks:batch", body: `{"tasks":[` + strings.Join(tasks, ",") + `]}`}.to(t, h).is(200, &answer)
	if len(answer.Results) != len(tasks) {
		t.Fatalf("%d results", len(answer.Results))
	}
	for i, r := range answer.Results {
		want := []any{nil, "invalid_request", "invalid_request", "invalid_request", "cost_exceeds_pool", "forbidden", "payload_too_large"}[i%7]
		if r["code"] != want || want == nil && r["taskId"] != fmt.Sprintf("t-%d", i) {
			t.Errorf("result %d: %v, want %v", i, r, want)
		}
	}
}

// TestSubmitAgain: the same submission changes nothing; another with its id is refused.
func TestSubmitAgain(t *testing.T) {
	h := newAPI(t, Config{}).TCP()
	q := ask{method: "POST", path: "/pools/work/tasks", body: `{"taskId":"a","payload":{"hold":true}}`}
	first := q.to(t, h).is(202, nil)
	q.body = ` {"payload": {"hold":true}, "taskId":"\u0061","createdAt":"2026-12-01T09:00:00Z", "tenant":"default"}`
	if again := q.to(t, h).is(202, nil); again.body != first.body {
		t.Errorf("%s, then %s", first.body, again.body)
	}
	q.body = `{"taskId":"a"}`
	q.to(t, h).refused(park.TaskExists, "a")
}

// TestPayloadsStayWhatTheyAre: bytes that JSON for web pages would escape come back as they were.
func TestPayloadsStayWhatTheyAre(t *testing.T) {
	h := newAPI(t, Config{}).TCP()
	const payload = `{"html":"<b>&amp;</b>","n":12345678901234567890.12345,"u":"é\u2028"}`
	ask{method: "POST", path: "/pools/remote/tasks", body: `{"payload":` + payload + `}`}.to(t, h).is(202, nil)
	r := ask{method: "POST", path: "/pools/remote/leases"}.to(t, h).is(200, nil)
	if !strings.Contains(r.body, payload) {
		t.Errorf("%s came back as %s", payload, r.body)
	}
}
