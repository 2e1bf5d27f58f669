package replay

import (
	"bytes"
	"encoding/json"

	"github.com/parkd-dev/parkd/pkg/park"
)

// told is what the details of a task's events tell. Each event has few of these.
type told struct {
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

// tellings reads details, of which many are alike.
type tellings struct {
	last [4]struct {
		detail []byte
		told   told
	}
	next int
}

// of returns what a detail tells, nothing where it cannot be read. The answer holds until the next call.
func (t *tellings) of(detail []byte) *told {
	if len(detail) == 0 {
		return &told{}
	}
	for i := range t.last {
		if bytes.Equal(t.last[i].detail, detail) {
			return &t.last[i].told
		}
	}
	l := &t.last[t.next]
	t.next = (t.next + 1) % len(t.last)
	l.detail, l.told = append(l.detail[:0], detail...), told{}
	if json.Unmarshal(detail, &l.told) != nil {
		l.told = told{}
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
