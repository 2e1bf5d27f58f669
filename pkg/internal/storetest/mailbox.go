package storetest

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func mailboxTests() storeTests {
	return storeTests{
		"oldest first, with increasing ids":        testMessages,
		"since a time":                             testMessagesSince,
		"after a message, page by page":            testMessagesAfter,
		"late messages are found by their time":    testMessagesLate,
		"mailboxes are separate":                   testBoxes,
		"a repeated message is not added":          testRedelivery,
		"messages of several pools at once":        testDeliverMixed,
		"trim":                                     testTrim,
		"a trimmed message is not delivered again": testTombstone,
		"invalid ids":                              testMessageIDs,
	}
}

// newMessage returns the message of task n of a pool, created n seconds after the epoch.
func newMessage(pool string, n int) park.Message {
	return park.Message{
		TaskID: "task-" + strconv.Itoa(n), PoolID: pool, Status: park.Completed, Payload: []byte(strconv.Itoa(n)), Attempt: 1,
		CreatedAt: park.At(Epoch().Add(time.Duration(n) * time.Second)), Tenant: "acme", Key: "alice",
	}
}

// deliver adds messages to their mailboxes.
func deliver(t testing.TB, s store.Store, messages ...park.Message) {
	t.Helper()
	if err := s.Deliver(t.Context(), messages); err != nil {
		t.Fatalf("deliver: %v", err)
	}
}

// testDeliverMixed delivers messages of several pools and times in one call.
func testDeliverMixed(t *testing.T, s store.Store) {
	all := []park.Message{newMessage("gpu", 1), newMessage("cpu", 1), newMessage("cpu", 2), newMessage("gpu", 2), newMessage("gpu", 3)}
	deliver(t, s, all...)
	equal(t, "messages", withoutIDs(messages(t, s, aliceBox())), all)
}

// deliverMany adds n messages, half of them by steps of their pool.
func deliverMany(t *testing.T, s store.Store, n int) (all []park.Message) {
	row := ledger.Pool{State: park.Active}
	for i := range n {
		m := newMessage("gpu", i)
		all = append(all, m)
		if i%2 == 0 {
			deliver(t, s, m)
			continue
		}
		row.Rev++
		row.LastStep = "step-" + strconv.Itoa(i)
		commit(t, s, &store.Step{PoolID: "gpu", ID: row.LastStep, Row: row, Messages: []park.Message{m}})
	}
	return all
}

// withoutIDs returns messages without the ids that the store gave them.
func withoutIDs(messages []park.Message) []park.Message {
	messages = slices.Clone(messages)
	for i := range messages {
		messages[i].ID = ""
	}
	return messages
}

// aliceBox returns a query of the mailbox that most messages of the suite go to.
func aliceBox() park.MailboxQuery { return park.MailboxQuery{Tenant: "acme", Key: "alice"} }

func testMessages(t *testing.T, s store.Store) {
	deliver(t, s)
	equal(t, "an empty box", messages(t, s, aliceBox()), []park.Message(nil))
	want := deliverMany(t, s, 9)
	found := messages(t, s, aliceBox())
	equal(t, "messages", withoutIDs(found), want)
	seen := make(map[string]bool)
	for _, m := range found {
		if m.ID == "" || seen[m.ID] {
			t.Fatalf("message id %q is empty or was given before", m.ID)
		}
		seen[m.ID] = true
	}
	equal(t, "read again", messages(t, s, aliceBox()), found)
	q := aliceBox()
	q.Limit = 4
	equal(t, "limited", messages(t, s, q), found[:4])
}

func testMessagesSince(t *testing.T, s store.Store) {
	want := deliverMany(t, s, 20)
	q := aliceBox()
	for i := range 20 {
		q.Since = want[i].CreatedAt
		equal(t, "since the time of one", withoutIDs(messages(t, s, q)), want[i:])
		q.Since = park.At(q.Since.Add(time.Microsecond))
		equal(t, "since just behind it", withoutIDs(messages(t, s, q)), want[i+1:])
	}
	q.Since, q.Limit = want[5].CreatedAt, 3
	equal(t, "limited", withoutIDs(messages(t, s, q)), want[5:8])
	q.Since = park.At(Epoch().Add(-time.Hour))
	equal(t, "since long ago", withoutIDs(messages(t, s, q)), want[:3])
}

func testMessagesAfter(t *testing.T, s store.Store) {
	want := deliverMany(t, s, 20)
	found := messages(t, s, aliceBox())
	for i := range found {
		q := aliceBox()
		q.After = found[i].ID
		equal(t, "after one", withoutIDs(messages(t, s, q)), want[i+1:])
	}
	q, read := park.MailboxQuery{Tenant: "acme", Key: "alice", Limit: 3}, []park.Message(nil)
	for i := 20; ; i++ {
		page := messages(t, s, q)
		if len(page) == 0 {
			break
		}
		read = append(read, page...)
		q.After = page[len(page)-1].ID
		if i < 23 {
			want = append(want, newMessage("gpu", i))
			deliver(t, s, newMessage("gpu", i))
		}
	}
	equal(t, "page by page while more come", withoutIDs(read), want)
}

// testMessagesLate delivers messages hours after they were created, between newer ones.
func testMessagesLate(t *testing.T, s store.Store) {
	var want []park.Message
	for i, hours := range []int{0, 5, 1, 9, 9, 2, 10, 0, 11} {
		m := newMessage("gpu", i)
		m.CreatedAt = park.At(Epoch().Add(time.Duration(hours) * time.Hour))
		want = append(want, m)
		deliver(t, s, m)
	}
	equal(t, "in the order in which they came", withoutIDs(messages(t, s, aliceBox())), want)
	for hours := range 13 {
		q := aliceBox()
		q.Since = park.At(Epoch().Add(time.Duration(hours) * time.Hour))
		recent := slices.DeleteFunc(slices.Clone(want), func(m park.Message) bool { return m.CreatedAt.Before(q.Since.Time) })
		equal(t, "since "+strconv.Itoa(hours)+" h", withoutIDs(messages(t, s, q)), recent)
	}
}

func testBoxes(t *testing.T, s store.Store) {
	boxes := [][2]string{{"acme", "alice"}, {"acme", "bob"}, {"globex", "alice"}, {"acme", ""}, {"", "alice"}, {"acmealice", ""}}
	for i := range 30 {
		m := newMessage("gpu", i)
		m.Tenant, m.Key = boxes[i%len(boxes)][0], boxes[i%len(boxes)][1]
		deliver(t, s, m)
	}
	for i, b := range boxes {
		found := messages(t, s, park.MailboxQuery{Tenant: b[0], Key: b[1]})
		equal(t, "count", len(found), 5)
		for n, m := range found {
			want := newMessage("gpu", n*len(boxes)+i)
			want.Tenant, want.Key = b[0], b[1]
			equal(t, "message", withoutIDs([]park.Message{m})[0], want)
		}
	}
	equal(t, "an unknown box", messages(t, s, park.MailboxQuery{Tenant: "globex", Key: "bob"}), []park.Message(nil))
}

func testRedelivery(t *testing.T, s store.Store) {
	want := deliverMany(t, s, 6)
	before := messages(t, s, aliceBox())
	deliver(t, s, want[0], want[2], want[4])
	deliver(t, s, want[4], want[4], want[0])
	equal(t, "messages", messages(t, s, aliceBox()), before)

	other := newMessage("cpu", 3) // a task of the same name in another pool
	deliver(t, s, want[2], other, other)
	equal(t, "messages", withoutIDs(messages(t, s, aliceBox())), append(want, other))
}

func testTrim(t *testing.T, s store.Store) {
	deliverMany(t, s, 10)
	bob := newMessage("gpu", 100)
	bob.Key = "bob"
	deliver(t, s, bob)
	trim := func(key, upTo string) {
		t.Helper()
		if err := s.Trim(t.Context(), "acme", key, upTo); err != nil {
			t.Fatalf("trim: %v", err)
		}
	}
	found := messages(t, s, aliceBox())
	trim("alice", found[3].ID)
	equal(t, "the rest", messages(t, s, aliceBox()), found[4:])
	trim("alice", found[1].ID) // what is gone already
	trim("nobody", found[9].ID)
	equal(t, "the rest", messages(t, s, aliceBox()), found[4:])
	q := aliceBox()
	q.After = found[1].ID
	equal(t, "after a trimmed one", messages(t, s, q), found[4:])
	q = aliceBox()
	q.Since = found[2].CreatedAt
	equal(t, "since a trimmed one", messages(t, s, q), found[4:])
	trim("alice", found[9].ID)
	equal(t, "nothing", messages(t, s, aliceBox()), []park.Message(nil))
	equal(t, "another box", len(messages(t, s, park.MailboxQuery{Tenant: "acme", Key: "bob"})), 1)

	deliver(t, s, newMessage("gpu", 200))
	q = aliceBox()
	q.After = found[9].ID
	equal(t, "what comes later is behind", withoutIDs(messages(t, s, q)), []park.Message{newMessage("gpu", 200)})
}

func testTombstone(t *testing.T, s store.Store) {
	want := deliverMany(t, s, 4)
	found := messages(t, s, aliceBox())
	if err := s.Trim(t.Context(), "acme", "alice", found[1].ID); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, want[0], want[2])
	equal(t, "messages", messages(t, s, aliceBox()), found[2:])
}

func testMessageIDs(t *testing.T, s store.Store) {
	deliverMany(t, s, 2)
	for _, id := range []string{"nonsense", "-5", "1.5", "memory=3", "0x1", "99999999999999999999"} {
		q := aliceBox()
		q.After, q.Limit = id, 1
		_, err := s.Messages(t.Context(), q)
		wantInvalid(t, "read after "+id, err)
		wantInvalid(t, "trim up to "+id, s.Trim(t.Context(), "acme", "alice", id))
	}
	equal(t, "count", len(messages(t, s, aliceBox())), 2)
	for _, id := range []string{"9223372036854775807", "9223372036854775806", "4611686018427387904"} {
		q := aliceBox()
		q.After = id
		equal(t, "after the last id of all", len(messages(t, s, q)), 0)
	}
	if err := s.Trim(t.Context(), "acme", "alice", "9223372036854775807"); err != nil {
		t.Fatal(err)
	}
	equal(t, "trimmed up to it", len(messages(t, s, aliceBox())), 0)
}
