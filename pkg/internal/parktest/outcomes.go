package parktest

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// readMailbox reads a mailbox, of the default tenant unless the query names one.
func (h *harness) readMailbox(q park.MailboxQuery) park.MessagePage {
	h.Helper()
	if q.Tenant == "" {
		q.Tenant = park.DefaultTenant
	}
	page, err := h.Service.Mailbox(h.ctx, q)
	h.must(err)
	return page
}

func testMailbox(h *harness) {
	equal(h, "unknown mailbox", len(h.readMailbox(park.MailboxQuery{Key: "box"}).Messages), 0)
	for i := range 5 {
		h.submit(Wide, newTask(taskID(i), `{"n":1}`))
		h.waitEnded(Wide, taskID(i))
	}
	all := h.readMailbox(park.MailboxQuery{Key: "box"})
	if len(all.Messages) != 5 {
		h.Fatalf("%d messages", len(all.Messages))
	}
	m := all.Messages[2]
	equal(h, "task", m.TaskID, taskID(2))
	equal(h, "pool", m.PoolID, Wide)
	equal(h, "status", m.Status, park.Completed)
	equal(h, "payload", string(m.Payload), `{"n":1}`)
	equal(h, "attempt", m.Attempt, 1)
	equal(h, "next", all.Next, all.Messages[4].ID)

	page := h.readMailbox(park.MailboxQuery{Key: "box", After: all.Messages[1].ID, Limit: 2})
	equal(h, "page", len(page.Messages), 2)
	equal(h, "first of the page", page.Messages[0].TaskID, taskID(2))
	equal(h, "next of the page", page.Next, all.Messages[3].ID)
	end := h.readMailbox(park.MailboxQuery{Key: "box", After: all.Next})
	equal(h, "after the last", len(end.Messages), 0)
	equal(h, "next after the last", end.Next, all.Next)
	since := h.readMailbox(park.MailboxQuery{Key: "box", Since: all.Messages[3].CreatedAt})
	equal(h, "since, inclusive", since.Messages[0].TaskID, taskID(3))
	equal(h, "another tenant", len(h.readMailbox(park.MailboxQuery{Tenant: "other", Key: "box"}).Messages), 0)
}

func testMailboxWait(h *harness) {
	got := make(chan park.MessagePage, 1)
	go func() {
		page, _ := h.Service.Mailbox(h.ctx, park.MailboxQuery{Tenant: park.DefaultTenant, Key: "box", Wait: 40 * time.Second})
		got <- page
	}()
	h.submit(Work, newTask("a", ""))
	if page := <-got; len(page.Messages) != 1 || page.Messages[0].TaskID != "a" {
		h.Errorf("the wait returned %+v", page)
	}
	equal(h, "messages after a wait in vain", len(h.readMailbox(park.MailboxQuery{Key: "other", Wait: time.Millisecond}).Messages), 0)
}

func testMailboxTrim(h *harness) {
	for i := range 3 {
		h.submit(Wide, newTask(taskID(i), ""))
		h.waitEnded(Wide, taskID(i))
	}
	all := h.readMailbox(park.MailboxQuery{Key: "box"}).Messages
	for range 2 {
		h.must(h.TrimMailbox(h.ctx, park.DefaultTenant, "box", all[1].ID))
		left := h.readMailbox(park.MailboxQuery{Key: "box"}).Messages
		if len(left) != 1 || left[0].ID != all[2].ID {
			h.Fatalf("left %+v", left)
		}
	}
	h.wantCode(park.InvalidRequest, h.TrimMailbox(h.ctx, park.DefaultTenant, "box", "nonsense"))
}

func testUnusualNames(h *harness) {
	for _, key := range []string{"a/b", "..", ".", "a b", "100%", "日本", "?x=1#y", "user:session"} {
		s := park.Submission{Tenant: "t/" + key, MailboxKey: park.MailboxRef{Key: key}}
		a := h.submit(Wide, s)
		h.waitEnded(Wide, a.TaskID)
		page := h.readMailbox(park.MailboxQuery{Tenant: "t/" + key, Key: key})
		if len(page.Messages) != 1 || page.Messages[0].TaskID != a.TaskID {
			h.Errorf("mailbox %q: %+v", key, page.Messages)
		}
	}
	h.submit(Wide, newTask("..", ""))
	equal(h, "task ..", h.waitEnded(Wide, "..").TaskID, "..")
}

func testAudit(h *harness) {
	for i := range 4 {
		s := newTask(taskID(i), "")
		s.Tenant = []string{"even", "odd"}[i%2]
		h.submit([]string{Work, Wide}[i/2], s)
		h.waitEnded([]string{Work, Wide}[i/2], s.TaskID)
	}
	count := func(q park.AuditQuery) int {
		h.Helper()
		page, err := h.Audit(h.ctx, q)
		h.must(err)
		return len(page.Events)
	}
	equal(h, "all", count(park.AuditQuery{}), 12)
	equal(h, "of a task", count(park.AuditQuery{TaskID: taskID(1)}), 3)
	equal(h, "of a pool", count(park.AuditQuery{PoolID: Wide}), 6)
	equal(h, "of a tenant", count(park.AuditQuery{Tenant: "odd"}), 6)
	equal(h, "of an action", count(park.AuditQuery{Action: park.ActStart, PoolID: Work}), 2)
	equal(h, "until before", count(park.AuditQuery{Until: park.At(time.Now().Add(-time.Hour))}), 0)
	equal(h, "since then", count(park.AuditQuery{Since: park.At(time.Now().Add(-time.Hour))}), 12)
	h.checkAuditPages()
	_, err := h.Audit(h.ctx, park.AuditQuery{Cursor: "nonsense"})
	h.wantCode(park.InvalidRequest, err)
}

// checkAuditPages reads the log page by page. Each event must come once, and the events of a pool in the order of
// (rev, ord).
func (h *harness) checkAuditPages() {
	h.Helper()
	type position struct {
		rev int64
		ord int
	}
	last := map[string]position{}
	q, n := park.AuditQuery{Limit: 5}, 0
	for {
		page, err := h.Audit(h.ctx, q)
		h.must(err)
		for _, e := range page.Events {
			at := last[e.PoolID]
			if e.Rev < at.rev || e.Rev == at.rev && e.Ord <= at.ord {
				h.Errorf("%s follows %v", e.EventID, at)
			}
			last[e.PoolID] = position{e.Rev, e.Ord}
			equal(h, "event id", e.EventID, park.EventID(e.PoolID, e.Rev, e.Ord))
			n++
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	equal(h, "events over all pages", n, 12)
}

// testAuditChanges sees that events which belong to no task are returned only if a query asks for them.
func testAuditChanges(h *harness) {
	paused, active := park.Paused, park.Active
	h.setPool(Work, park.PoolPatch{State: &paused})
	h.setPool(Work, park.PoolPatch{State: &active})
	h.submit(Work, holdingTask("a", 1))
	_, err := h.Service.Cancel(h.ctx, Work, "a")
	h.must(err)
	equal(h, "actions", h.actions(Work, "a"), "submit start cancel ")
	for _, c := range []struct {
		q    park.AuditQuery
		want string
	}{
		{park.AuditQuery{PoolID: Work}, "submit start cancel "},
		{park.AuditQuery{PoolID: Work, Limit: 1}, "submit start cancel "},
		{park.AuditQuery{PoolID: Work, Changes: true}, "update update submit start update cancel "},
		{park.AuditQuery{PoolID: Work, Action: park.ActUpdate}, "update update update "},
	} {
		found, watched := "", ""
		for q := c.q; ; {
			page, err := h.Audit(h.ctx, q)
			h.must(err)
			for _, e := range page.Events {
				found += string(e.Action) + " "
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		equal(h, fmt.Sprintf("%+v", c.q), found, c.want)
		c.q.Since = park.At(time.Now().Add(-time.Hour))
		for e, err := range h.Service.Watch(h.ctx, c.q) {
			h.must(err)
			if watched += string(e.Action) + " "; len(watched) >= len(c.want) {
				break
			}
		}
		equal(h, fmt.Sprintf("watched %+v", c.q), watched, c.want)
	}
}

func testWatch(h *harness) {
	h.submit(Work, newTask("before", ""))
	h.waitEnded(Work, "before")
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	next, stop := iter.Pull2(h.Service.Watch(ctx, park.AuditQuery{PoolID: Work, Since: park.At(time.Now().Add(-time.Hour))}))
	defer stop()
	read := func(id string, n int) {
		for range n {
			e, err, ok := next()
			if !ok || err != nil || e.TaskID != id {
				h.Fatalf("watched %+v, %v", e, err)
			}
		}
	}
	read("before", 3)
	h.submit(Wide, newTask("elsewhere", ""))
	h.submit(Work, newTask("after", ""))
	read("after", 3)
	cancel()
	if _, err, ok := next(); !ok || err == nil {
		h.Errorf("a watch whose context has ended goes on: %v", ok)
	}
}

func testWatchResumes(h *harness) {
	h.submit(Work, newTask("a", ""))
	h.waitEnded(Work, "a")
	page, err := h.Audit(h.ctx, park.AuditQuery{})
	h.must(err)
	for e, err := range h.Service.Watch(h.ctx, park.AuditQuery{Cursor: page.Events[1].EventID}) {
		h.must(err)
		equal(h, "event after the cursor", e.EventID, page.Events[2].EventID)
		break
	}
	for _, err := range h.Service.Watch(h.ctx, park.AuditQuery{Cursor: "nonsense"}) {
		h.wantCode(park.InvalidRequest, err)
		break
	}
}
