package api

import (
	"bufio"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// otherwise matches what may differ between two answers that say the same: times, places in the log and in a list, and the
// position.
var otherwise = regexp.MustCompile(`,?"(at|\w+At|eventId|id|next)":"[^"]*"|,?"(rev|position)":[0-9]+`)

// life is what red may do with a task, and all that it is told of it.
func life(t *testing.T, h http.Handler, pool, id string) (told []string) {
	at := "/pools/" + pool + "/tasks"
	task := fmt.Sprintf(`{"taskId":%q,"mailboxKey":%q,"payload":{"hold":true}}`, id, id)
	other := fmt.Sprintf(`{"taskId":%q,"payload":1}`, id)
	for _, q := range []ask{
		{method: "GET", path: at + "/" + id},
		{method: "DELETE", path: at + "/" + id},
		{method: "GET", path: at + "/" + id + "/log?follow=true"},
		{method: "GET", path: "/audit?task=" + id},
		{method: "POST", path: at, body: fmt.Sprintf(`{"taskId":%q,"resourceCost":{"units":5000}}`, id)},
		{method: "POST", path: at, body: task},
		{method: "POST", path: at, body: task},
		{method: "POST", path: at, body: other},
		{method: "POST", path: at + ":batch", body: `{"tasks":[` + task + `,` + other + `]}`},
		{method: "GET", path: at + "/" + id},
		{method: "GET", path: at + "/" + id + "?wait=10ms"},
		{method: "GET", path: at + "/" + id + "/log"},
		{method: "GET", path: "/audit?task=" + id},
		{method: "GET", path: "/audit?pool=" + pool + "&task=" + id + "&limit=1"},
		{method: "DELETE", path: at + "/" + id},
		{method: "DELETE", path: at + "/" + id},
		{method: "GET", path: at + "/" + id + "?wait=1m"},
		{method: "GET", path: at + "?limit=1"},
		{method: "POST", path: at, body: task},
		{method: "POST", path: at, body: other},
		{method: "GET", path: "/audit?task=" + id},
		{method: "GET", path: "/mailbox/red/" + id},
	} {
		r := q.as("red-t").to(t, h)
		r.Del("Content-Length") // that of the times
		header := ""
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			header += fmt.Sprintln(name, r.Header[name])
		}
		body := otherwise.ReplaceAllString(r.body, "")
		told = append(told, strings.ReplaceAll(fmt.Sprintf("%s\n%d\n%s%s", r.asked, r.code, header, body), id, "ID"))
	}
	return told
}

// usedIDs returns an API where blue has a task that has ended, one that runs and one that is parked.
func usedIDs(t *testing.T) http.Handler {
	h := newAPI(t, Config{Tokens: []Token{token("red-t", "red"), token("blue-t", "blue"), token("all", "")}}).TCP()
	for pool, s := range map[string]string{
		"wide": `{"tasks":[{"taskId":"ended-1"},{"taskId":"running-1","payload":{"hold":true}}]}`,
		"work": `{"tasks":[{"taskId":"blocker","payload":{"hold":true},"resourceCost":{"units":4}},{"taskId":"parked-1"}]}`,
	} {
		ask{method: "POST", path: "/pools/" + pool + "/tasks:batch", body: s}.as("blue-t").to(t, h).is(200, nil)
	}
	ask{method: "GET", path: "/pools/wide/tasks/ended-1?wait=1m"}.as("blue-t").to(t, h).is(200, nil)
	return h
}

// TestIDsOfOthersAreFree: a tenant is told the same of a task whose id another tenant uses as of one whose id nobody uses.
func TestIDsOfOthersAreFree(t *testing.T) {
	h := usedIDs(t)
	for _, c := range []struct{ pool, id, unused string }{
		{"wide", "ended-1", "ended-2"}, {"wide", "running-1", "running-2"}, {"work", "parked-1", "parked-2"},
	} {
		at := ask{method: "GET", path: "/pools/" + c.pool + "/tasks/" + c.id}.as("blue-t")
		before := at.to(t, h).is(200, nil)
		ask{method: "POST", path: "/pools/" + c.pool + "/tasks", body: `{"tenant":"red","taskId":"` + c.id + `"}`}.as("all").to(t, h).refused(park.TaskExists)
		taken, free := life(t, h, c.pool, c.id), life(t, h, c.pool, c.unused)
		for i := range taken {
			if taken[i] != free[i] {
				t.Errorf("%s: red is told\n%s\nand of an id that nobody uses\n%s", c.id, taken[i], free[i])
			}
			if strings.Contains(taken[i], "@") || strings.Contains(taken[i], "blue") {
				t.Errorf("%s: red is told %s", c.id, taken[i])
			}
		}
		if !strings.Contains(free[len(free)-1], `"status":"dropped"`) {
			t.Errorf("red's message is %s", free[len(free)-1])
		}
		if after := at.to(t, h); after.body != before.body {
			t.Errorf("blue's task was %s and is %s", before.body, after.body)
		}
		blue := ask{method: "GET", path: "/audit?task=" + c.id}.as("blue-t").to(t, h).is(200, nil)
		if strings.Contains(blue.body, "red") {
			t.Errorf("blue is told %s", blue.body)
		}
	}
}

// TestOperatorSeesStoredIDs: whoever is bound to no tenant sees under which id a task is kept, and steers it by that. Its
// tenant is not told that there is such an id.
func TestOperatorSeesStoredIDs(t *testing.T) {
	h := usedIDs(t)
	submit := ask{method: "POST", path: "/pools/wide/tasks", body: `{"taskId":"ended-1","payload":{"hold":true}}`}
	submit.as("red-t").to(t, h).is(202, nil)
	var task park.Task
	stored := ask{method: "GET", path: "/pools/wide/tasks/ended-1@red"}
	stored.as("all").to(t, h).is(200, &task)
	if task.TaskID != "ended-1@red" || task.Tenant != "red" || task.Status != park.Running {
		t.Errorf("the operator sees %+v", task)
	}
	own := stored.as("red-t").to(t, h).refused(park.TaskNotFound)
	none := ask{method: "GET", path: "/pools/wide/tasks/ended-1@rex"}.as("red-t").to(t, h).refused(park.TaskNotFound)
	if own.body != strings.Replace(none.body, "rex", "red", 1) {
		t.Errorf("%s differs from %s", own.body, none.body)
	}
	var log park.EventPage
	ask{method: "GET", path: "/audit?task=ended-1@red"}.as("red-t").to(t, h).is(200, &log)
	if len(log.Events) > 0 {
		t.Errorf("red is told %+v", log.Events)
	}
	ask{method: "GET", path: "/audit?task=ended-1@red"}.as("all").to(t, h).is(200, &log)
	if len(log.Events) != 2 || log.Events[0].TaskID != "ended-1@red" {
		t.Errorf("the operator is told %+v", log.Events)
	}
	submit.body = `{"taskId":"ended-1@red"}`
	for _, who := range []string{"red-t", "blue-t", "all"} {
		submit.as(who).to(t, h).refused(park.InvalidRequest, "taskId")
	}
	ask{method: "DELETE", path: "/pools/wide/tasks/ended-1@red"}.as("all").to(t, h).is(200, &task)
	ask{method: "GET", path: "/pools/wide/tasks/ended-1"}.as("red-t").to(t, h).is(200, &task)
	if task.TaskID != "ended-1" || task.Status != park.Dropped {
		t.Errorf("red sees %+v", task)
	}
}

// TestWorkersHaveStoredIDs: two tenants' tasks of one id are leased side by side, and each tenant is told of its own.
func TestWorkersHaveStoredIDs(t *testing.T) {
	h := usedIDs(t)
	for _, tenant := range []string{"blue", "red"} {
		body := `{"taskId":"x","mailboxKey":"box","payload":"` + tenant + `"}`
		ask{method: "POST", path: "/pools/remote/tasks", body: body}.as(tenant+"-t").to(t, h).is(202, nil)
	}
	var got struct{ Leases []park.Lease }
	ask{method: "POST", path: "/pools/remote/leases", body: `{"max":4}`}.as("all").to(t, h).is(200, &got)
	if len(got.Leases) != 2 || got.Leases[0].TaskID != "x" || got.Leases[1].TaskID != "x@red" {
		t.Fatalf("the leases are %+v", got.Leases)
	}
	for _, l := range got.Leases {
		ask{method: "PUT", path: "/leases/" + l.LeaseID, body: `{}`}.as("all").to(t, h).is(200, nil)
		ask{method: "POST", path: "/leases/" + l.LeaseID + "/complete", body: `{"status":"completed","payload":` + string(l.Payload) + `}`}.as("all").to(t, h).is(200, nil)
	}
	for _, tenant := range []string{"blue", "red"} {
		var task park.Task
		ask{method: "GET", path: "/pools/remote/tasks/x?wait=1m"}.as(tenant+"-t").to(t, h).is(200, &task)
		if task.TaskID != "x" || string(task.Result) != `"`+tenant+`"` {
			t.Errorf("%s sees %+v", tenant, task)
		}
		var box park.MessagePage
		ask{method: "GET", path: "/mailbox/" + tenant + "/box"}.as(tenant+"-t").to(t, h).is(200, &box)
		if len(box.Messages) != 1 || box.Messages[0].TaskID != "x" || string(box.Messages[0].Payload) != `"`+tenant+`"` {
			t.Errorf("%s has the messages %+v", tenant, box.Messages)
		}
	}
}

// TestStreamShowsOwnIDs follows a task whose id another tenant has, from the log and as its events come.
func TestStreamShowsOwnIDs(t *testing.T) {
	h := usedIDs(t)
	s := httptest.NewServer(h)
	defer s.Close()
	submit := ask{method: "POST", path: "/pools/wide/tasks", body: `{"taskId":"running-1","payload":{"hold":true}}`}
	submit.as("red-t").to(t, h).is(202, nil)
	for _, query := range []string{"", "&task=running-1"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/events?since=2000-01-01T00:00:00Z"+query, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer red-t")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		seen := map[string]bool{}
		lines := bufio.NewScanner(resp.Body)
		for !seen["start"] || !seen["cancel"] {
			if !lines.Scan() {
				t.Fatalf("the stream ended after %v", seen)
			}
			line, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			if strings.Contains(line, "@") || strings.Contains(line, "blue") {
				t.Fatalf("red is told %s", line)
			}
			for _, a := range []string{"start", "cancel"} {
				seen[a] = seen[a] || strings.Contains(line, `"action":"`+a+`"`) && strings.Contains(line, `"taskId":"running-1"`)
			}
			if seen["start"] && !seen["cancel"] {
				ask{method: "DELETE", path: "/pools/wide/tasks/running-1"}.as("red-t").to(t, h)
			}
		}
	}
}

// TestMergedPages reads two logs as one, a page at a time.
func TestMergedPages(t *testing.T) {
	at := func(pool string, revs ...int64) (all []park.Event) {
		for _, rev := range revs {
			all = append(all, park.Event{EventID: park.EventID(pool, rev, 0), PoolID: pool, Rev: rev, At: park.FromMicro(rev)})
		}
		return all
	}
	for _, b := range [][]park.Event{at("p", 2, 3, 8), at("q", 2, 3, 8, 9), at("p", 20), nil} {
		a := at("p", 1, 4, 5, 10)
		want := slices.Concat(a, b)
		slices.SortFunc(want, func(x, y park.Event) int { return int(x.Rev - y.Rev) })
		for limit := 1; limit < 10; limit++ {
			var got []park.Event
			page := func(of []park.Event) (p park.EventPage) {
				for _, e := range of {
					if len(got) > 0 && e.Rev <= got[len(got)-1].Rev {
						continue
					}
					if p.Events = append(p.Events, e); len(p.Events) == limit {
						p.Next = e.EventID
						break
					}
				}
				return p
			}
			for {
				p := merged(page(a), page(b), limit)
				if got = append(got, p.Events...); p.Next == "" || len(p.Events) == 0 {
					break
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("in pages of %d: %v, want %v", limit, got, want)
			}
		}
	}
}
