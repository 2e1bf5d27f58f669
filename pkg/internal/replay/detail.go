package replay

import (
	"bytes"
	"encoding/json"

	"github.com/parkd-dev/parkd/pkg/park"
)

// eventDetail is the detail of a task's event. Each event has few of the fields.
type eventDetail struct {
	Priority    *park.Priority `json:"priority"`
	Mailbox     string         `json:"mailbox"`
	Deadline    park.Time      `json:"deadline"`
	MaxAttempts int            `json:"maxAttempts"`

	Reason    string    `json:"reason"`
	Strike    int       `json:"strike"`
	NotBefore park.Time `json:"notBefore"`

	Worker *string `json:"worker"`
	Early  string  `json:"early"`
}

// detailCache parses details, many of which are equal.
type detailCache struct {
	last [4]struct {
		detail []byte
		told   eventDetail
	}
	next int
}

// parse parses a detail; the result is empty if it is invalid. It is valid until the next call.
func (t *detailCache) parse(detail []byte) *eventDetail {
	if len(detail) == 0 {
		return &eventDetail{}
	}
	for i := range t.last {
		if bytes.Equal(t.last[i].detail, detail) {
			return &t.last[i].told
		}
	}
	l := &t.last[t.next]
	t.next = (t.next + 1) % len(t.last)
	l.detail, l.told = append(l.detail[:0], detail...), eventDetail{}
	if json.Unmarshal(detail, &l.told) != nil {
		l.told = eventDetail{}
	}
	return &l.told
}

// isLoss reports whether a run may be taken back for a reason without being counted against its task. Others are failures.
func isLoss(reason string) bool {
	switch reason {
	case park.ReasonNodeLost, park.ReasonWorkerLost, park.ReasonShutdown, park.ReasonStartDeferred:
		return true
	}
	return false
}
