package park_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func TestAcceptedJSON(t *testing.T) {
	at := park.At(time.Date(2026, 12, 1, 9, 0, 0, 123456789, time.UTC))
	for want, a := range map[string]park.Accepted{
		`{"taskId":"","poolId":"","status":"","submittedAt":"0001-01-01T00:00:00.000000Z"}`: {},
		`{"taskId":"a","poolId":"gpu","status":"running","submittedAt":"2026-12-01T09:00:00.123456Z"}`: {
			TaskID: "a", PoolID: "gpu", Status: park.Running, SubmittedAt: at,
		},
		`{"taskId":"b.c:d-1","poolId":"p","status":"queued","position":7,"submittedAt":"2026-12-01T09:00:00.123456Z"}`: {
			TaskID: "b.c:d-1", PoolID: "p", Status: park.Queued, Position: 7, SubmittedAt: at,
		},
		`{"taskId":"a\"b\\c\n","poolId":"größe","status":"queued","submittedAt":"2026-12-01T09:00:00.123456Z"}`: {
			TaskID: "a\"b\\c\n", PoolID: "größe", Status: park.Queued, SubmittedAt: at,
		},
	} {
		got, err := json.Marshal(&a)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
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

func TestCut(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "abcd": "abcd", "abcde": "abcd…", "abcé": "abc…", "ab日本": "ab…", "a\U0001f600b": "a…", "日本": "日…",
		// Of what is no text there is no rune to keep whole.
		"\x80\x80\x80\x80\x80\x80\x80\x80": "\x80\x80\x80\x80…", "a\x80\x80\x80\x80\x80": "a\x80\x80\x80…",
	} {
		if got := park.Cut(text, 4); got != want {
			t.Errorf("%q is cut to %q, want %q", text, got, want)
		}
	}
}

// TestMailboxRefs: two users' mailboxes are never one.
func TestMailboxRefs(t *testing.T) {
	for wire, want := range map[string]park.MailboxRef{
		`"a:b:c"`:                          {Key: "a:b:c"},
		`{"userId":"a","sessionId":"b"}`:   {Key: "a:b"},
		`{"tenant":"t","userId":"a"}`:      {Tenant: "t", Key: "a"},
		`{"userId":"a","sessionId":"b:c"}`: {}, `{"userId":"a:b","sessionId":"c"}`: {}, `{"userId":"a:","sessionId":""}`: {},
		`{"userId":":"}`: {}, `{"sessionId":"s"}`: {}, `{"tenant":"t","userId":"a\u003ab"}`: {},
	} {
		var got park.MailboxRef
		if err := json.Unmarshal([]byte(wire), &got); (err == nil) != (want != park.MailboxRef{}) || err == nil && got != want {
			t.Errorf("%s reads as %+v, %v", wire, got, err)
		}
	}
	for _, ref := range []park.MailboxRef{{Key: "a:b:c"}, {Key: ":"}, {Tenant: "t", Key: "a"}, {Tenant: "t", Key: "a:b"}} {
		wire, err := json.Marshal(ref)
		var back park.MailboxRef
		if err == nil {
			err = json.Unmarshal(wire, &back)
		}
		if err != nil || back != ref {
			t.Errorf("%+v is written as %s, and that read as %+v, %v", ref, wire, back, err)
		}
	}
	for _, key := range []string{"a:b:c", ":a", "a:", ":"} {
		if wire, err := json.Marshal(park.MailboxRef{Tenant: "t", Key: key}); err == nil {
			t.Errorf("%q of a tenant is written as %s, which is another mailbox", key, wire)
		}
	}
}

// TestCommandsAreText: an argument that JSON or a command line would change is refused, also in process.
func TestCommandsAreText(t *testing.T) {
	for _, s := range []park.Submission{
		{Command: []string{"a", "\xff"}}, {Command: []string{"a\x00b"}}, {Command: []string{"a"}, WorkDir: "/\xff"}, {Command: []string{"a"}, WorkDir: "/\x00"},
	} {
		if err := s.Normalize(); park.CodeOf(err) != park.InvalidRequest {
			t.Errorf("%q in %q: %v", s.Command, s.WorkDir, err)
		}
	}
	fine := park.Submission{Command: []string{"é", "", "\n"}, WorkDir: "/ü"}
	if err := fine.Normalize(); err != nil {
		t.Error(err)
	}
}
