package park_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func TestAcceptedJSON(t *testing.T) {
	at := park.At(time.Date(2026, 12, 1, 9, 0, 0, 123456789, time.UTC))
	for _, a := range []park.Accepted{
		{},
		{TaskID: "a", PoolID: "gpu", Status: park.Running, SubmittedAt: at},
		{TaskID: "b.c:d-1", PoolID: "p", Status: park.Queued, Position: 7, SubmittedAt: at},
		{TaskID: "a\"b\\c\n", PoolID: "größe", Status: park.Queued, SubmittedAt: at},
	} {
		want, err := json.Marshal(&a)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.AppendJSON(nil); string(got) != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestDigest(t *testing.T) {
	base := func() park.Submission {
		return park.Submission{
			TaskID: "t", Tenant: "acme", Priority: park.High, ResourceCost: park.Cost{Kind: park.GPUVram, Units: 2},
			Deadline: park.FromMicro(1), TimeoutSecs: 3, MailboxKey: park.MailboxRef{Key: "k"}, Payload: json.RawMessage(`{"a":[1, "x y"]}`),
			Command: []string{"run", "it"}, WorkDir: "/w", Retry: park.Retry{MaxAttempts: 2, Backoff: 5},
		}
	}
	want := base()
	same := base()
	same.CreatedAt, same.Payload = park.FromMicro(9), json.RawMessage("{ \"a\" : [1,\n\"x y\"] }\t")
	if want.Digest() != same.Digest() {
		t.Error("spaces between the parts of a payload, or the client's own time, make another submission")
	}
	for name, change := range map[string]func(*park.Submission){
		"taskId": func(s *park.Submission) { s.TaskID = "u" }, "tenant": func(s *park.Submission) { s.Tenant = "" },
		"priority": func(s *park.Submission) { s.Priority = park.Low }, "kind": func(s *park.Submission) { s.ResourceCost.Kind = "" },
		"units": func(s *park.Submission) { s.ResourceCost.Units = 3 }, "deadline": func(s *park.Submission) { s.Deadline = park.Time{} },
		"timeoutSecs": func(s *park.Submission) { s.TimeoutSecs = 0 }, "mailboxKey": func(s *park.Submission) { s.MailboxKey.Key = "l" },
		"space in text": func(s *park.Submission) { s.Payload = json.RawMessage(`{"a":[1, "xy"]}`) },
		"no payload":    func(s *park.Submission) { s.Payload = nil }, "command": func(s *park.Submission) { s.Command = []string{"run it"} },
		"workDir": func(s *park.Submission) { s.WorkDir = "" }, "attempts": func(s *park.Submission) { s.Retry.MaxAttempts = 3 },
		"backoff": func(s *park.Submission) { s.Retry.Backoff = 6 },
	} {
		s := base()
		change(&s)
		if s.Digest() == want.Digest() {
			t.Errorf("another %s makes no other submission", name)
		}
	}
}
