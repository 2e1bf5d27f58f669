package engine

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The ids of messages are those of the mailbox's store. Where pools keep their mailboxes in several stores, a
// reader sees one mailbox all the same: its ids are then one per store, joined, as in "file=17,in_memory=4". A store
// of which nothing was read yet may have the time instead that reading began at, as in "file=17,in_memory=@1795510329".
// An id outlives a change of the configuration from one store to several, or back.

func (e *Engine) readMailbox(ctx context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	backends := e.mailboxes()
	if len(backends) == 1 {
		b := backends[0]
		at, err := parseMarks(q.After, backends)
		if err != nil {
			return park.MessagePage{}, err
		}
		messages, err := e.stores[b].Messages(ctx, at[b].apply(q))
		if e.health.Read(ctx, b, err) != nil {
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
	at, err := parseMarks(q.After, backends)
	if err != nil {
		return park.MessagePage{}, err
	}
	if q.After == "" && !q.Since.IsZero() {
		for _, b := range backends {
			at[b] = markAt(q.Since)
		}
	}
	type found struct {
		park.Message
		from park.Backend
	}
	var all []found
	for _, b := range backends {
		messages, err := e.stores[b].Messages(ctx, at[b].apply(q))
		if e.health.Read(ctx, b, err) != nil {
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
		at[m.from] = mark(m.ID)
		m.Message.ID = formatMarks(at)
		page.Messages[i], page.Next = m.Message, m.Message.ID
	}
	return page, nil
}

// mark is where a reader stands in one store: behind a message, or at a time; "" is the beginning.
type mark string

const timeMark = "@"

func markAt(t park.Time) mark { return timeMark + mark(strconv.FormatInt(t.Micro(), 10)) }

// time returns the time that m stands for.
func (m mark) time() (park.Time, bool) {
	text, ok := strings.CutPrefix(string(m), timeMark)
	if !ok {
		return park.Time{}, false
	}
	micro, err := strconv.ParseInt(text, 10, 64)
	return park.FromMicro(micro), err == nil
}

// apply returns q for a store in which the reader stands at m.
func (m mark) apply(q park.MailboxQuery) park.MailboxQuery {
	q.After = string(m)
	if since, ok := m.time(); ok {
		q.After, q.Since = "", since
	}
	return q
}

// parseMarks takes an id apart. One without a store's name was given when there was only one store, which lived on if
// it is durable.
func parseMarks(id string, backends []park.Backend) (map[park.Backend]mark, error) {
	marks := make(map[park.Backend]mark)
	if id == "" {
		return marks, nil
	}
	if !strings.Contains(id, "=") {
		for _, b := range backends {
			if len(backends) == 1 || b != park.InMemory && isNumber(id) {
				marks[b] = mark(id)
				return marks, nil
			}
		}
	}
	for part := range strings.SplitSeq(id, ",") {
		b, at, ok := strings.Cut(part, "=")
		if !ok || !slices.Contains(backends, park.Backend(b)) && !slices.Contains(park.Backends(), park.Backend(b).Kind()) {
			return nil, park.Errorf(park.InvalidRequest, "must be a time or the id of a message of this mailbox, not %q", id)
		}
		marks[park.Backend(b)] = mark(at)
	}
	return marks, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

func formatMarks(marks map[park.Backend]mark) string {
	var parts []string
	for _, b := range slices.Sorted(maps.Keys(marks)) {
		if at := marks[b]; at != "" {
			parts = append(parts, string(b)+"="+string(at))
		}
	}
	return strings.Join(parts, ",")
}

// TrimMailbox implements [park.MailboxService].
func (e *Engine) TrimMailbox(ctx context.Context, tenant, key, upTo string) error {
	backends := e.mailboxes()
	marks, err := parseMarks(upTo, backends)
	if err != nil {
		return err
	}
	for _, b := range backends {
		if _, untouched := marks[b].time(); untouched || marks[b] == "" {
			continue
		}
		if err := e.stores[b].Trim(ctx, tenant, key, string(marks[b])); err != nil {
			return e.unsure(ctx, "the mailbox", err)
		}
	}
	return nil
}

// mailboxes returns the mailbox stores in use, each once.
func (e *Engine) mailboxes() []park.Backend {
	var all []park.Backend
	seen := make(map[park.Backend]bool)
	for _, id := range e.order {
		if b := e.pools[id].MailboxBackend; !seen[b] {
			seen[b] = true
			all = append(all, b)
		}
	}
	return all
}
