package api

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// canary stands in everything that belongs to the tenant blue.
const canary = "c4n4ry"

// twoTenants returns an API where blue has a task that runs, one that is parked and one that has ended, and red
// has one that has ended.
func twoTenants(t *testing.T) http.Handler {
	h := newAPI(t, Config{Tokens: []Token{token("red-t", "red"), token("blue-t", "blue"), token("all", "")}}).TCP()
	for _, s := range []string{
		`{"taskId":"c4n4ry-ends","tenant":"blue","mailboxKey":"c4n4ry","payload":"c4n4ry"}`,
		`{"taskId":"c4n4ry-runs","tenant":"blue","payload":{"hold":true},"resourceCost":{"units":4}}`,
		`{"taskId":"c4n4ry-waits","tenant":"blue","mailboxKey":"c4n4ry"}`,
	} {
		ask{method: "POST", path: "/pools/work/tasks", body: s}.as("blue-t").to(t, h).is(202, nil)
	}
	ask{method: "POST", path: "/pools/wide/tasks", body: `{"taskId":"own","mailboxKey":"box"}`}.as("red-t").to(t, h).is(202, nil)
	ask{method: "GET", path: "/pools/work/tasks/c4n4ry-ends?wait=1m"}.as("all").to(t, h).is(200, nil)
	ask{method: "GET", path: "/pools/wide/tasks/own?wait=1m"}.as("all").to(t, h).is(200, nil)
	return h
}

// TestTenantsDoNotSeeEachOther asks with red's token for what is blue's, every way there is.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	h := twoTenants(t)
	for _, c := range []struct {
		method, path, body string
		code               park.Code // "" for an answer without anything of blue's
	}{
		{"GET", "/pools/work/tasks/c4n4ry-ends", "", park.TaskNotFound},
		{"GET", "/pools/work/tasks/c4n4ry-runs?wait=10s", "", park.TaskNotFound},
		{"DELETE", "/pools/work/tasks/c4n4ry-runs", "", park.TaskNotFound},
		{"DELETE", "/pools/work/tasks/c4n4ry-waits", "", park.TaskNotFound},
		{"DELETE", "/pools/work/tasks/c4n4ry-ends", "", park.TaskNotFound},
		{"GET", "/pools/work/tasks/c4n4ry-runs/log?follow=true", "", park.TaskNotFound},
		{"GET", "/pools/work/tasks", "", ""},
		{"GET", "/pools/work/tasks?status=running", "", ""},
		{"GET", "/pools/work/tasks?tenant=blue", "", park.Forbidden},
		{"GET", "/mailbox/blue/c4n4ry", "", park.Forbidden},
		{"GET", "/mailbox/red/c4n4ry", "", ""},
		{"DELETE", "/mailbox/blue/c4n4ry?upTo=1", "", park.Forbidden},
		{"GET", "/audit", "", ""},
		{"GET", "/audit?task=c4n4ry-runs", "", ""},
		{"GET", "/audit?pool=work&limit=1000", "", ""},
		{"GET", "/audit?tenant=blue", "", park.Forbidden},
		{"GET", "/audit?cursor=work:1:0", "", ""},
		{"GET", "/events?tenant=blue", "", park.Forbidden},
		{"POST", "/pools/wide/tasks", `{"tenant":"blue"}`, park.Forbidden},
		{"POST", "/pools/wide/tasks", `{"mailboxKey":{"tenant":"blue","userId":"c"}}`, park.Forbidden},
		{"POST", "/pools/wide/tasks", `{"tenant":"red","mailboxKey":{"tenant":"blue","userId":"c"}}`, park.Forbidden},
		{"POST", "/pools/wide/tasks", `{"tenant":"default"}`, park.Forbidden},
		{"PATCH", "/pools/work", `{"state":"paused"}`, park.Forbidden},
		{"POST", "/pools/remote/leases", `{}`, park.Forbidden},
		{"PUT", "/leases/remote.1.00.c4n4ry", `{}`, park.Forbidden},
		{"POST", "/leases/remote.1.00.c4n4ry/complete", `{"status":"failed"}`, park.Forbidden},
		{"GET", "/metrics", "", park.Forbidden},
		{"GET", "/pools", "", ""},
		{"GET", "/health", "", ""},
	} {
		r := ask{method: c.method, path: c.path, body: c.body}.as("red-t").to(t, h)
		if c.code == "" {
			r.is(200, nil)
		} else {
			r.refused(c.code)
		}
		if !strings.Contains(c.path, canary) && strings.Contains(r.body, canary) || strings.Contains(r.body, `"blue"`) {
			t.Errorf("%s: red is told %s", r.asked, r.body)
		}
	}
}

// TestNoOracle: that somebody else has a task reads as that nobody has it.
func TestNoOracle(t *testing.T) {
	h := twoTenants(t)
	there := ask{method: "GET", path: "/pools/work/tasks/c4n4ry-ends"}.as("red-t").to(t, h).refused(park.TaskNotFound)
	nowhere := ask{method: "GET", path: "/pools/work/tasks/c4n4ry-nope"}.as("red-t").to(t, h).refused(park.TaskNotFound)
	if strings.Replace(nowhere.body, "nope", "ends", 1) != there.body {
		t.Errorf("%s differs from %s", there.body, nowhere.body)
	}
}

// TestTenantsSeeTheirOwn is the other half: nothing of red's own is kept from red.
func TestTenantsSeeTheirOwn(t *testing.T) {
	h := twoTenants(t)
	var task park.Task
	ask{method: "GET", path: "/pools/wide/tasks/own?wait=1s"}.as("red-t").to(t, h).is(200, &task)
	if task.Tenant != "red" {
		t.Errorf("the token's tenant was not taken: %+v", task)
	}
	var tasks park.TaskPage
	ask{method: "GET", path: "/pools/wide/tasks?tenant=red"}.as("red-t").to(t, h).is(200, &tasks)
	var box park.MessagePage
	ask{method: "GET", path: "/mailbox/red/box"}.as("red-t").to(t, h).is(200, &box)
	var log park.EventPage
	ask{method: "GET", path: "/audit"}.as("red-t").to(t, h).is(200, &log)
	if len(tasks.Tasks) != 1 || len(box.Messages) != 1 || len(log.Events) != 3 {
		t.Errorf("%d tasks, %d messages, %d events", len(tasks.Tasks), len(box.Messages), len(log.Events))
	}
	ask{method: "DELETE", path: "/mailbox/red/box?upTo=" + box.Next}.as("red-t").to(t, h).is(204, nil)
	ask{method: "GET", path: "/mailbox/red/box"}.as("red-t").to(t, h).is(200, &box)
	if len(box.Messages) != 0 {
		t.Errorf("after the trim: %+v", box)
	}
	var mixed struct{ Results []map[string]any }
	body := `{"tasks":[{"tenant":"blue"},{"taskId":"n1"},{"tenant":"red","taskId":"n2"},{"mailboxKey":{"tenant":"blue","userId":"u"}}]}`
	ask{method: "POST", path: "/pools/wide/tasks:batch", body: body}.as("red-t").to(t, h).is(200, &mixed)
	r := mixed.Results
	if r[0]["code"] != "forbidden" || r[1]["taskId"] != "n1" || r[2]["taskId"] != "n2" || r[3]["code"] != "forbidden" {
		t.Errorf("results %v", r)
	}
	ask{method: "DELETE", path: "/pools/work/tasks/c4n4ry-waits"}.as("blue-t").to(t, h).is(200, nil)
}

// TestTenantsEvents reads red's stream while blue is busy.
func TestTenantsEvents(t *testing.T) {
	h := twoTenants(t)
	s := httptest.NewServer(h)
	defer s.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/events?since=2000-01-01T00:00:00Z", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer red-t")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	ask{method: "DELETE", path: "/pools/work/tasks/c4n4ry-waits"}.as("blue-t").to(t, h).is(200, nil)
	ask{method: "POST", path: "/pools/wide/tasks", body: `{"taskId":"last"}`}.as("red-t").to(t, h).is(202, nil)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if line := lines.Text(); strings.Contains(line, canary) {
			t.Fatalf("red is told %s", line)
		} else if strings.Contains(line, `"complete"`) && strings.Contains(line, `"last"`) {
			return
		}
	}
	t.Error("the stream ended")
}
