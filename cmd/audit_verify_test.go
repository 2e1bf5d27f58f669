package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// kept is a service with one pool whose log, tasks and messages are what a test says.
type kept struct {
	park.Service
	pool     park.Pool
	events   []park.Event
	tasks    []park.Task
	messages []park.Message
}

func (k *kept) Pools(context.Context) ([]park.Pool, error)      { return []park.Pool{k.pool}, nil }
func (k *kept) Pool(context.Context, string) (park.Pool, error) { return k.pool, nil }
func (k *kept) Tasks(context.Context, string, park.TaskQuery) (park.TaskPage, error) {
	return park.TaskPage{Tasks: k.tasks}, nil
}

func (k *kept) Mailbox(_ context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	if q.After != "" {
		return park.MessagePage{Next: q.After}, nil
	}
	return park.MessagePage{Messages: k.messages, Next: "last"}, nil
}

func (k *kept) Audit(_ context.Context, q park.AuditQuery) (page park.EventPage, _ error) {
	seen := q.Cursor == ""
	for _, e := range k.events {
		if seen && (q.Action == "" || q.Action == e.Action) && (q.TaskID == "" || q.TaskID == e.TaskID) {
			page.Events = append(page.Events, e)
		}
		seen = seen || e.EventID == q.Cursor
	}
	return page, nil
}

// life is a service whose only task "a" was run and ended at rev 2.
func life() *kept {
	at := ago(2 * onItsWay)
	event := func(rev int64, ord int, a park.Action, attempt int) park.Event {
		return park.Event{EventID: park.EventID("gpu", rev, ord), PoolID: "gpu", At: at, Rev: rev, Ord: ord, Action: a, TaskID: "a", Tenant: "acme", Units: 2, Attempt: attempt}
	}
	return &kept{
		pool:     park.Pool{PoolID: "gpu", MaxUnits: 4, MaxQueueDepth: 4, State: park.Active},
		events:   []park.Event{event(1, 0, park.ActSubmit, 0), event(1, 1, park.ActStart, 1), event(2, 0, park.ActComplete, 1)},
		tasks:    []park.Task{{TaskID: "a", PoolID: "gpu", Tenant: "acme", MailboxKey: "box", Status: park.Completed, Attempt: 1, CompletedAt: at}},
		messages: []park.Message{{TaskID: "a", PoolID: "gpu", Status: park.Completed, Attempt: 1}},
	}
}

// changing is a service whose pool is changed after its log was first asked for changes, and whose log hears of it only once
// it was read late times.
type changing struct {
	*kept
	asked, late int
}

func (c *changing) Audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error) {
	page, err := c.kept.Audit(ctx, q)
	if c.asked++; c.asked == 1 {
		c.pool.MaxUnits = 1
	}
	if c.asked == c.late {
		c.events = append(c.events, park.Event{
			EventID: "gpu:3:0", PoolID: "gpu", Rev: 3, At: c.events[2].At, Action: park.ActUpdate,
			Detail: json.RawMessage(`{"maxUnits":{"from":4,"to":1}}`),
		})
	}
	return page, err
}

// TestAuditVerifyWhileLimitsChange: a change between two reads is no offence.
func TestAuditVerifyWhileLimitsChange(t *testing.T) {
	for _, late := range []int{1, 2} {
		c := &changing{kept: life(), late: late}
		g := &globals{output: asJSON, out: io.Discard, err: io.Discard, now: testNow}
		if err := runAuditVerify(t.Context(), g, c, verifyOptions{}); err != nil {
			t.Errorf("heard of at read %d: %v", late, err)
		}
	}
}

func TestAuditVerify(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*kept)
		rule  string
		rev   int64
	}{
		"right":            {func(*kept) {}, "", 0},
		"a rev is missing": {func(k *kept) { k.events[2].Rev, k.events[2].EventID = 3, "gpu:3:0" }, "order", 3},
		"beyond capacity":  {func(k *kept) { k.pool.MaxUnits = 1 }, "capacity", 1},
		"the end missing":  {func(k *kept) { k.events = k.events[:2] }, "end", 1},
		"two messages":     {func(k *kept) { k.messages = append(k.messages, k.messages[0]) }, "mail", 2},
		"another outcome":  {func(k *kept) { k.messages[0].Status = park.Failed }, "mail", 2},
	} {
		t.Run(name, func(t *testing.T) {
			k := life()
			tt.spoil(k)
			var out bytes.Buffer
			g := &globals{output: asJSON, out: &out, err: io.Discard, now: testNow}
			err := runAuditVerify(t.Context(), g, k, verifyOptions{})
			var page verdictPage
			if err := json.Unmarshal(out.Bytes(), &page); err != nil || len(page.Pools) != 1 {
				t.Fatalf("printed %s: %v", out.Bytes(), err)
			}
			v := page.Pools[0]
			if string(v.Rule) != tt.rule || v.Rev != tt.rev || v.OK != (tt.rule == "") {
				t.Errorf("found %+v", v)
			}
			if x, ok := errors.AsType[*exit](err); (tt.rule != "") != (ok && x.Code == exitFailed) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}
