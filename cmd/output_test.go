package cmd

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/pkg/park"
)

func testNow() time.Time { return time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC) }

func ago(d time.Duration) park.Time { return park.At(testNow().Add(-d)) }

func testTasks() []park.Task {
	return []park.Task{
		{
			TaskID: "render-41", PoolID: "gpu", Tenant: "acme", Status: park.Queued, Priority: park.High, Position: 3,
			ResourceCost: park.Cost{Kind: park.GPUVram, Units: 8}, Command: []string{"python", "render.py"}, SubmittedAt: ago(90 * time.Second),
		},
		{
			TaskID: "b", PoolID: "gpu", Tenant: "acme", Status: park.Failed, ResourceCost: park.Cost{Units: 1}, Attempt: 1,
			Reason: park.ReasonExitNonzero, Message: "exit status 3\n\x1b[31mred", SubmittedAt: ago(time.Hour),
			StartedAt: ago(time.Hour), CompletedAt: ago(time.Hour - 1500*time.Millisecond),
		},
	}
}

func printTo(f format) (*printer, *bytes.Buffer) {
	var b bytes.Buffer
	return &printer{w: &b, format: f, now: testNow}, &b
}

func TestTaskTable(t *testing.T) {
	t.Parallel()
	p, b := printTo(asTable)
	tasks := testTasks()
	if err := taskList().print(p, park.TaskPage{Tasks: tasks}, tasks); err != nil {
		t.Fatal(err)
	}
	want := `TASK       POOL  STATUS  POS  UNITS  PRIORITY  SUBMITTED  TOOK  NOTE
render-41  gpu   queued    3      8  high      1m30s ago        python render.py
b          gpu   failed           1  normal    1h00m ago  1.5s  exit_nonzero: exit status 3 red
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	tasks := testTasks()
	for f, check := range map[format]func(t *testing.T, out []byte){
		asJSON: func(t *testing.T, out []byte) {
			var page park.TaskPage
			if err := json.Unmarshal(out, &page); err != nil || len(page.Tasks) != 2 {
				t.Errorf("not a page of two tasks: %v\n%s", err, out)
			}
		},
		asNDJSON: func(t *testing.T, out []byte) {
			lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
			var first park.Task
			if err := json.Unmarshal(lines[0], &first); err != nil || len(lines) != 2 || first.TaskID != "render-41" {
				t.Errorf("not two lines of tasks: %v\n%s", err, out)
			}
		},
		asID: func(t *testing.T, out []byte) {
			if string(out) != "render-41\nb\n" {
				t.Errorf("not two ids:\n%s", out)
			}
		},
		asWide: func(t *testing.T, out []byte) {
			for _, part := range []string{"TENANT", "acme", "2026-12-01T09:58:30.000000Z"} {
				if !bytes.Contains(out, []byte(part)) {
					t.Errorf("%q is missing:\n%s", part, out)
				}
			}
		},
	} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			p, b := printTo(f)
			if err := taskList().print(p, park.TaskPage{Tasks: tasks}, tasks); err != nil {
				t.Fatal(err)
			}
			check(t, b.Bytes())
		})
	}
}

func TestStreamAlignsWhatItKnows(t *testing.T) {
	t.Parallel()
	p, b := printTo(asWide)
	s := newStream(p, eventList())
	for _, e := range []park.Event{
		{EventID: "gpu:1:0", At: ago(0), Action: park.ActSubmit, TaskID: "a", Units: 8, Tenant: "acme"},
		{EventID: "gpu:1:1", At: ago(0), Action: park.ActReject, TaskID: "b", Detail: json.RawMessage(`{"code":"queue_full","n":1}`)},
	} {
		if err := s.print(e); err != nil {
			t.Fatal(err)
		}
	}
	want := `TIME                         EVENT         ACTION    TASK                                  UNITS  ATTEMPT  TENANT      NODE        DETAIL
2026-12-01T10:00:00.000000Z  gpu:1:0       submit    a                                         8           acme
2026-12-01T10:00:00.000000Z  gpu:1:1       reject    b                                                                             code=queue_full n=1
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0ms", 20 * time.Millisecond: "20ms", 1500 * time.Millisecond: "1.5s", 42 * time.Second: "42s",
		61 * time.Second: "1m01s", 90 * time.Minute: "1h30m", 50 * time.Hour: "2d02h",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("short(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestDetail(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		``: "", `{"reason":"timeout"}`: "reason=timeout", `{"b":1,"a":"x y"}`: "a=x y b=1",
		`{"maxUnits":{"from":24,"to":12}}`: `maxUnits={"from":24,"to":12}`, `[1]`: "[1]",
	} {
		if got := detail(json.RawMessage(raw)); got != want {
			t.Errorf("detail(%s) = %q, want %q", raw, got, want)
		}
	}
}
