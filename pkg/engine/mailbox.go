package engine

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The ids of messages are those of the mailbox's store. Where pools keep their mailboxes in several stores, a
// reader sees one mailbox all the same: its ids are then one per store, joined, as in "file=17,in_memory=4".

func (e *Engine) readMailbox(ctx context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	backends := e.mailboxes()
	if len(backends) == 1 {
		messages, err := e.stores[backends[0]].Messages(ctx, q)
		if err != nil {
			return park.MessagePage{}, e.unread(ctx, "mailbox", err)
		}
		page := park.MessagePage{Messages: messages, Next: q.After}
		if n := len(messages); n > 0 {
			page.Next = messages[n-1].ID
		}
		return page, nil
	}
	return e.readMailboxes(ctx, backends, q)
}

// readMailboxes merges what several stores hold of a mailbox, by time.
func (e *Engine) readMailboxes(ctx context.Context, backends []park.Backend, q park.MailboxQuery) (park.MessagePage, error) {
	at, err := parseMarks(q.After)
	if err != nil {
		return park.MessagePage{}, err
	}
	type found struct {
		park.Message
		from park.Backend
	}
	var all []found
	for _, b := range backends {
		part := q
		part.After = at[b]
		messages, err := e.stores[b].Messages(ctx, part)
		if err != nil {
			return park.MessagePage{}, e.unread(ctx, "mailbox", err)
		}
		for _, m := range messages {
			all = append(all, found{m, b})
		}
	}
	// Stable: messages of one store keep their order whatever their times are.
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.CreatedAt.Micro(), b.CreatedAt.Micro()) })
	all = all[:min(len(all), q.Limit)]
	page := park.MessagePage{Messages: make([]park.Message, len(all)), Next: q.After}
	for i, m := range all {
		at[m.from] = m.ID
		m.Message.ID = formatMarks(at)
		page.Messages[i], page.Next = m.Message, m.Message.ID
	}
	return page, nil
}

func parseMarks(s string) (map[park.Backend]string, error) {
	marks := make(map[park.Backend]string)
	if s == "" {
		return marks, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		b, id, ok := strings.Cut(part, "=")
		if !ok || !slices.Contains(park.Backends(), park.Backend(b)) {
			return nil, park.Errorf(park.InvalidRequest, "since must be a time or the id of a message of this mailbox, not %q", s)
		}
		marks[park.Backend(b)] = id
	}
	return marks, nil
}

func formatMarks(marks map[park.Backend]string) string {
	var parts []string
	for _, b := range park.Backends() {
		if id := marks[b]; id != "" {
			parts = append(parts, string(b)+"="+id)
		}
	}
	return strings.Join(parts, ",")
}

// TrimMailbox implements [park.MailboxService].
func (e *Engine) TrimMailbox(ctx context.Context, tenant, key, upTo string) error {
	backends := e.mailboxes()
	if len(backends) == 1 {
		if err := e.stores[backends[0]].Trim(ctx, tenant, key, upTo); err != nil {
			return e.unread(ctx, "mailbox", err)
		}
		return nil
	}
	marks, err := parseMarks(upTo)
	if err != nil {
		return err
	}
	for _, b := range backends {
		if marks[b] == "" {
			continue
		}
		if err := e.stores[b].Trim(ctx, tenant, key, marks[b]); err != nil {
			return e.unread(ctx, "mailbox", err)
		}
	}
	return nil
}
