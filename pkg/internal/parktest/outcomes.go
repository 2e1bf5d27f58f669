package parktest

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func (b *bench) messages(q park.MailboxQuery) park.MessagePage {
	b.Helper()
	if q.Tenant == "" {
		q.Tenant = park.DefaultTenant
	}
	page, err := b.Service.Mailbox(b.ctx, q)
	b.must(err)
	return page
}

func mailbox(b *bench) {
	equal(b, "unknown mailbox", len(b.messages(park.MailboxQuery{Key: "box"}).Messages), 0)
	for i := range 5 {
		b.submit(Wide, task(numbered(i), `{"n":1}`))
		b.ended(Wide, numbered(i))
	}
	all := b.messages(park.MailboxQuery{Key: "box"})
	if len(all.Messages) != 5 {
		b.Fatalf("%d messages", len(all.Messages))
	}
	m := all.Messages[2]
	equal(b, "task", m.TaskID, numbered(2))
	equal(b, "pool", m.PoolID, Wide)
	equal(b, "status", m.Status, park.Completed)
	equal(b, "payload", string(m.Payload), `{"n":1}`)
	equal(b, "attempt", m.Attempt, 1)
	equal(b, "next", all.Next, all.Messages[4].ID)

	page := b.messages(park.MailboxQuery{Key: "box", After: all.Messages[1].ID, Limit: 2})
	equal(b, "page", len(page.Messages), 2)
	equal(b, "first of the page", page.Messages[0].TaskID, numbered(2))
	equal(b, "next of the page", page.Next, all.Messages[3].ID)
	end := b.messages(park.MailboxQuery{Key: "box", After: all.Next})
	equal(b, "after the last", len(end.Messages), 0)
	equal(b, "next stays", end.Next, all.Next)
	since := b.messages(park.MailboxQuery{Key: "box", Since: all.Messages[3].CreatedAt})
	equal(b, "since, inclusive", since.Messages[0].TaskID, numbered(3))
	equal(b, "another tenant", len(b.messages(park.MailboxQuery{Tenant: "other", Key: "box"}).Messages), 0)
}

func mailboxWait(b *bench) {
	got := make(chan park.MessagePage, 1)
	go func() {
		page, _ := b.Service.Mailbox(b.ctx, park.MailboxQuery{Tenant: park.DefaultTenant, Key: "box", Wait: 40 * time.Second})
		got <- page
	}()
	b.submit(Work, task("a", ""))
	if page := <-got; len(page.Messages) != 1 || page.Messages[0].TaskID != "a" {
		b.Errorf("waited for %+v", page)
	}
	equal(b, "in vain", len(b.messages(park.MailboxQuery{Key: "other", Wait: time.Millisecond}).Messages), 0)
}

func mailboxTrim(b *bench) {
	for i := range 3 {
		b.submit(Wide, task(numbered(i), ""))
		b.ended(Wide, numbered(i))
	}
	all := b.messages(park.MailboxQuery{Key: "box"}).Messages
	for range 2 {
		b.must(b.TrimMailbox(b.ctx, park.DefaultTenant, "box", all[1].ID))
		left := b.messages(park.MailboxQuery{Key: "box"}).Messages
		if len(left) != 1 || left[0].ID != all[2].ID {
			b.Fatalf("left %+v", left)
		}
	}
	b.failsWith(park.InvalidRequest, b.TrimMailbox(b.ctx, park.DefaultTenant, "box", "nonsense"))
}

func oddNames(b *bench) {
	for _, key := range []string{"a/b", "..", ".", "a b", "100%", "日本", "?x=1#y", "user:session"} {
		s := park.Submission{Tenant: "t/" + key, MailboxKey: park.MailboxRef{Key: key}}
		a := b.submit(Wide, s)
		b.ended(Wide, a.TaskID)
		page := b.messages(park.MailboxQuery{Tenant: "t/" + key, Key: key})
		if len(page.Messages) != 1 || page.Messages[0].TaskID != a.TaskID {
			b.Errorf("mailbox %q: %+v", key, page.Messages)
		}
	}
	b.submit(Wide, task("..", ""))
	equal(b, "task ..", b.ended(Wide, "..").TaskID, "..")
}

func audit(b *bench) {
	for i := range 4 {
		s := task(numbered(i), "")
		s.Tenant = []string{"even", "odd"}[i%2]
		b.submit([]string{Work, Wide}[i/2], s)
		b.ended([]string{Work, Wide}[i/2], s.TaskID)
	}
	count := func(q park.AuditQuery) int {
		b.Helper()
		page, err := b.Audit(b.ctx, q)
		b.must(err)
		return len(page.Events)
	}
	equal(b, "all", count(park.AuditQuery{}), 12)
	equal(b, "of a task", count(park.AuditQuery{TaskID: numbered(1)}), 3)
	equal(b, "of a pool", count(park.AuditQuery{PoolID: Wide}), 6)
	equal(b, "of a tenant", count(park.AuditQuery{Tenant: "odd"}), 6)
	equal(b, "of an action", count(park.AuditQuery{Action: park.ActStart, PoolID: Work}), 2)
	equal(b, "until before", count(park.AuditQuery{Until: park.At(time.Now().Add(-time.Hour))}), 0)
	equal(b, "since then", count(park.AuditQuery{Since: park.At(time.Now().Add(-time.Hour))}), 12)
	b.auditPages()
	_, err := b.Audit(b.ctx, park.AuditQuery{Cursor: "nonsense"})
	b.failsWith(park.InvalidRequest, err)
}

// auditPages reads page by page: each event once, and a pool's in the order of (rev, ord).
func (b *bench) auditPages() {
	b.Helper()
	type place struct {
		rev int64
		ord int
	}
	last := map[string]place{}
	q, n := park.AuditQuery{Limit: 5}, 0
	for {
		page, err := b.Audit(b.ctx, q)
		b.must(err)
		for _, e := range page.Events {
			at := last[e.PoolID]
			if e.Rev < at.rev || e.Rev == at.rev && e.Ord <= at.ord {
				b.Errorf("%s follows %v", e.EventID, at)
			}
			last[e.PoolID] = place{e.Rev, e.Ord}
			equal(b, "event id", e.EventID, park.EventID(e.PoolID, e.Rev, e.Ord))
			n++
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	equal(b, "events over all pages", n, 12)
}

// auditChanges: what is no line of a task's life is told to those who ask for it, and to nobody else.
func auditChanges(b *bench) {
	paused, active := park.Paused, park.Active
	b.set(Work, park.PoolPatch{State: &paused})
	b.set(Work, park.PoolPatch{State: &active})
	b.submit(Work, hold("a", 1))
	_, err := b.Service.Cancel(b.ctx, Work, "a")
	b.must(err)
	equal(b, "life", b.life(Work, "a"), "submit start cancel ")
	for _, c := range []struct {
		q    park.AuditQuery
		want string
	}{
		{park.AuditQuery{PoolID: Work}, "submit start cancel "},
		{park.AuditQuery{PoolID: Work, Limit: 1}, "submit start cancel "},
		{park.AuditQuery{PoolID: Work, Changes: true}, "update update submit start update cancel "},
		{park.AuditQuery{PoolID: Work, Action: park.ActUpdate}, "update update update "},
	} {
		told, watched := "", ""
		for q := c.q; ; {
			page, err := b.Audit(b.ctx, q)
			b.must(err)
			for _, e := range page.Events {
				told += string(e.Action) + " "
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		equal(b, fmt.Sprintf("%+v", c.q), told, c.want)
		c.q.Since = park.At(time.Now().Add(-time.Hour))
		for e, err := range b.Service.Watch(b.ctx, c.q) {
			b.must(err)
			if watched += string(e.Action) + " "; len(watched) >= len(c.want) {
				break
			}
		}
		equal(b, fmt.Sprintf("watched %+v", c.q), watched, c.want)
	}
}

func watch(b *bench) {
	b.submit(Work, task("before", ""))
	b.ended(Work, "before")
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	next, stop := iter.Pull2(b.Service.Watch(ctx, park.AuditQuery{PoolID: Work, Since: park.At(time.Now().Add(-time.Hour))}))
	defer stop()
	read := func(id string, n int) {
		for range n {
			e, err, ok := next()
			if !ok || err != nil || e.TaskID != id {
				b.Fatalf("watched %+v, %v", e, err)
			}
		}
	}
	read("before", 3)
	b.submit(Wide, task("elsewhere", ""))
	b.submit(Work, task("after", ""))
	read("after", 3)
	cancel()
	if _, err, ok := next(); !ok || err == nil {
		b.Errorf("a watch whose context has ended goes on: %v", ok)
	}
}

func watchResumes(b *bench) {
	b.submit(Work, task("a", ""))
	b.ended(Work, "a")
	page, err := b.Audit(b.ctx, park.AuditQuery{})
	b.must(err)
	for e, err := range b.Service.Watch(b.ctx, park.AuditQuery{Cursor: page.Events[1].EventID}) {
		b.must(err)
		equal(b, "event after the cursor", e.EventID, page.Events[2].EventID)
		break
	}
	for _, err := range b.Service.Watch(b.ctx, park.AuditQuery{Cursor: "nonsense"}) {
		b.failsWith(park.InvalidRequest, err)
		break
	}
}
