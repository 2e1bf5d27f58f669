package park

import (
	"encoding/json"
	"time"
)

// Message is the outcome of one ended task, kept for the clients of a mailbox. A task makes exactly one.
type Message struct {
	ID        string          `json:"id"` // given by the mailbox's store, rising within a mailbox
	TaskID    string          `json:"taskId"`
	PoolID    string          `json:"poolId"`
	Status    Status          `json:"status"`
	Reason    string          `json:"reason,omitempty"`
	Message   string          `json:"message,omitempty"`
	Payload   json.RawMessage `json:"payload,omitempty"`
	Attempt   int             `json:"attempt"`
	CreatedAt Time            `json:"createdAt,omitzero"`

	Tenant string `json:"-"`
	Key    string `json:"-"`
}

// MailboxQuery reads one mailbox, oldest first.
type MailboxQuery struct {
	Tenant string
	Key    string
	Since  Time   // inclusive
	After  string // a message id, exclusive; not together with Since
	Limit  int
	Wait   time.Duration // how long to wait for a first message; 0: not at all
}

// MessagePage is one page of a mailbox. Next is the id after which to read on. If no message came, it is unchanged.
type MessagePage struct {
	Messages []Message `json:"messages"`
	Next     string    `json:"next,omitempty"`
}
