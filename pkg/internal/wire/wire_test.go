package wire_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/pkg/internal/wire"
	"github.com/parkd-dev/parkd/pkg/park"
)

// FuzzPages reads pages. What is read is written so that it reads the same.
func FuzzPages(f *testing.F) {
	at := park.At(time.Date(2026, 12, 1, 10, 0, 0, 123456789, time.UTC))
	f.Add(wire.Append(nil, park.KeptPage[park.Event]{Next: "n", Items: []park.Event{
		{At: at, Rev: 7, Ord: 300, Action: park.ActFail, TaskID: "a", Tenant: "t", Units: 1 << 40, Attempt: 3, Node: "n", Detail: []byte(`{"reason":"x"}`)},
		{At: park.FromMicro(at.Micro() - 5), Rev: 8, Action: park.ActUpdate},
		{},
	}}, wire.PutEvent))
	f.Add(wire.Append(nil, park.KeptPage[park.KeptTask]{Items: []park.KeptTask{
		{
			TaskID: "a", Tenant: "t", MailboxKey: "m", Status: park.Failed, Priority: park.Low, Units: 2, Rank: -9, Attempt: 1, Strikes: 1, MaxAttempts: 2,
			Node: "n", Reason: "r", Deadline: at, SubmittedAt: at, StartedAt: at, EndedAt: at, Said: 1 << 63,
		}, {},
	}}, wire.PutTask))
	f.Add(wire.Append(nil, park.KeptPage[park.KeptMessage]{Items: []park.KeptMessage{
		{TaskID: "a", Tenant: "t", MailboxKey: "t", Status: park.Dropped, Attempt: 4, Reason: "r", CreatedAt: at, Trimmed: true, Said: 5}, {},
	}}, wire.PutMessage))
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, wire.PutEvent, wire.GetEvent)
		again(t, b, wire.PutTask, wire.GetTask)
		again(t, b, wire.PutMessage, wire.GetMessage)
	})
}

func again[T any](t *testing.T, b []byte, put func(*wire.Writer, *T), get func(*wire.Reader, *T)) {
	page, err := wire.Read(b, nil, get)
	if err != nil {
		return
	}
	back, err := wire.Read(wire.Append(nil, page, put), nil, get)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(page, back); d != "" {
		t.Errorf("(-read +read again):\n%s", d)
	}
}
