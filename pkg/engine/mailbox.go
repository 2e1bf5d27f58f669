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

// Message ids are those of the mailbox's store. If pools keep their mailboxes in several stores, a reader still sees
// one mailbox: an id then joins one id per store, as in "file=17,in_memory=4". For a store of which nothing was read
// yet, the id may have the start time of the read instead, as in "file=17,in_memory=@1795510329". An id stays valid if
// the configuration changes from one store to several, or back.

func (e *Engine) readMailbox(ctx context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	backends := e.mailboxes()
	if len(backends) == 1 {
		b := backends[0]
		cursors, err := parseCursors(q.After, backends)
		if err != nil {
			return park.MessagePage{}, err
		}
		messages, err := e.stores[b].Messages(ctx, cursors[b].apply(q))
		if e.health.Read(ctx, b, err) != nil {
			return park.MessagePage{}, e.readError(ctx, "mailbox", err)
		}
		page := park.MessagePage{Messages: messages, Next: q.After}
		if n := len(messages); n > 0 {
			page.Next = messages[n-1].ID
		}
		return page, nil
	}
	return e.readMailboxes(ctx, backends, q)
}

// readMailboxes merges the parts of a mailbox that several stores hold, by time.
func (e *Engine) readMailboxes(ctx context.Context, backends []park.Backend, q park.MailboxQuery) (park.MessagePage, error) {
	cursors, err := parseCursors(q.After, backends)
	if err != nil {
		return park.MessagePage{}, err
	}
	if q.After == "" && !q.Since.IsZero() {
		for _, b := range backends {
			cursors[b] = cursorAt(q.Since)
		}
	}
	type found struct {
		park.Message
		from park.Backend
	}
	var all []found
	for _, b := range backends {
		messages, err := e.stores[b].Messages(ctx, cursors[b].apply(q))
		if e.health.Read(ctx, b, err) != nil {
			return park.MessagePage{}, e.readError(ctx, "mailbox", err)
		}
		for _, m := range messages {
			all = append(all, found{m, b})
		}
	}
	// Stable: messages of one store keep their order, whatever their times.
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.CreatedAt.Micro(), b.CreatedAt.Micro()) })
	all = all[:min(len(all), q.Limit)]
	page := park.MessagePage{Messages: make([]park.Message, len(all)), Next: q.After}
	for i, m := range all {
		cursors[m.from] = storeCursor(m.ID)
		m.Message.ID = formatCursors(cursors)
		page.Messages[i], page.Next = m.Message, m.Message.ID
	}
	return page, nil
}

// storeCursor is the position of a reader in one store: after a message, or at a time. "" is the beginning.
type storeCursor string

const timePrefix = "@"

func cursorAt(t park.Time) storeCursor {
	return timePrefix + storeCursor(strconv.FormatInt(t.Micro(), 10))
}

// time returns the time of a cursor that is one.
func (m storeCursor) time() (park.Time, bool) {
	text, ok := strings.CutPrefix(string(m), timePrefix)
	if !ok {
		return park.Time{}, false
	}
	micro, err := strconv.ParseInt(text, 10, 64)
	return park.FromMicro(micro), err == nil
}

// apply returns q for a store in which the reader is at m.
func (m storeCursor) apply(q park.MailboxQuery) park.MailboxQuery {
	q.After = string(m)
	if since, ok := m.time(); ok {
		q.After, q.Since = "", since
	}
	return q
}

// parseCursors parses an id. An id without a store's name dates from a configuration with one store, which still exists
// if it is durable.
func parseCursors(id string, backends []park.Backend) (map[park.Backend]storeCursor, error) {
	cursors := make(map[park.Backend]storeCursor)
	if id == "" {
		return cursors, nil
	}
	if !strings.Contains(id, "=") {
		for _, b := range backends {
			if len(backends) == 1 || b != park.InMemory && isNumber(id) {
				cursors[b] = storeCursor(id)
				return cursors, nil
			}
		}
	}
	for part := range strings.SplitSeq(id, ",") {
		b, at, ok := strings.Cut(part, "=")
		if !ok || !slices.Contains(backends, park.Backend(b)) && !slices.Contains(park.Backends(), park.Backend(b).Kind()) {
			return nil, park.Errorf(park.InvalidRequest, "must be a time or the id of a message of this mailbox, not %q", id)
		}
		cursors[park.Backend(b)] = storeCursor(at)
	}
	return cursors, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

func formatCursors(cursors map[park.Backend]storeCursor) string {
	var parts []string
	for _, b := range slices.Sorted(maps.Keys(cursors)) {
		if at := cursors[b]; at != "" {
			parts = append(parts, string(b)+"="+string(at))
		}
	}
	return strings.Join(parts, ",")
}

// TrimMailbox implements [park.MailboxService].
func (e *Engine) TrimMailbox(ctx context.Context, tenant, key, upTo string) error {
	backends := e.mailboxes()
	cursors, err := parseCursors(upTo, backends)
	if err != nil {
		return err
	}
	for _, b := range backends {
		if _, isTime := cursors[b].time(); isTime || cursors[b] == "" {
			continue
		}
		if err := e.stores[b].Trim(ctx, tenant, key, string(cursors[b])); err != nil {
			return e.writeError(ctx, "the mailbox", err)
		}
	}
	return nil
}

// mailboxes returns the stores that hold mailboxes, each once.
func (e *Engine) mailboxes() []park.Backend {
	var all []park.Backend
	seen := make(map[park.Backend]bool)
	for _, id := range e.poolIDs {
		if b := e.pools[id].MailboxBackend; !seen[b] {
			seen[b] = true
			all = append(all, b)
		}
	}
	return all
}
