package park

import (
	"context"
)

// EvidenceService shows what each store keeps of a pool, so that the stores can be checked against each other. It
// covers all tenants.
type EvidenceService interface {
	// Evidence returns a pool's row, and how far back the log, the tasks and the messages go.
	Evidence(ctx context.Context, pool string) (Evidence, error)
	// KeptEvents reads the log of a pool from the oldest event on, including updates. The events have no EventID.
	KeptEvents(ctx context.Context, pool string, q KeptQuery) (KeptPage[Event], error)
	// KeptTasks reads the tasks of a pool, the newest submission first.
	KeptTasks(ctx context.Context, pool string, q KeptQuery) (KeptPage[KeptTask], error)
	// KeptMessages reads the messages of a pool in all mailboxes, in the order in which they came, including what is
	// left of those that their clients have trimmed.
	KeptMessages(ctx context.Context, pool string, q KeptQuery) (KeptPage[KeptMessage], error)
}

// KeptQuery asks for a page of evidence.
type KeptQuery struct {
	Since  Time   // of events: inclusive
	Cursor string // KeptPage.Next of the page before
	Limit  int
}

// KeptPage is a page of evidence. Next is "" on the last page.
type KeptPage[T any] struct {
	Items []T
	Next  string
}

// Evidence is what the stores say of a pool.
type Evidence struct {
	PoolID        string    `json:"poolId"`
	Rev           int64     `json:"rev"` // the last step
	LastAt        Time      `json:"lastAt,omitzero"`
	MaxUnits      int64     `json:"maxUnits"`
	MaxQueueDepth int       `json:"maxQueueDepth"`
	State         PoolState `json:"state"`
	UsedUnits     int64     `json:"usedUnits"`
	QueueDepth    int       `json:"queueDepth"`

	QueueBackend   Backend `json:"queueBackend"`
	MailboxBackend Backend `json:"mailboxBackend"`
	AuditBackend   Backend `json:"auditBackend"`

	// EventsApart and MessagesApart say that the log and the mailboxes are in other stores than the queue: they hear of a step
	// a little later.
	EventsApart   bool `json:"eventsApart,omitempty"`
	MessagesApart bool `json:"messagesApart,omitempty"`

	Log      Mark `json:"log"`
	Tasks    Mark `json:"tasks"`
	Messages Mark `json:"messages"`
	// EventsOwed and MessagesOwed are the times of the oldest event and message that are still on their way to another store,
	// zero where all have arrived.
	EventsOwed   Time `json:"eventsOwed,omitzero"`
	MessagesOwed Time `json:"messagesOwed,omitzero"`
	// ToldSince is when the queue was last brought to a schema that only a parkd works on which tells all in the log that is told
	// now; zero where it was made with that.
	ToldSince Time `json:"toldSince,omitzero"`
	// Retention is how long what has ended is kept; 0 is for ever.
	Retention Duration `json:"retention,omitempty"`
}

// Mark says how far old data was removed from a place. The zero value means that nothing was removed.
type Mark struct {
	Rev    int64 `json:"rev,omitempty"`    // of the log: events of up to this step
	Before Time  `json:"before,omitzero"`  // what is from before may be gone
	Guess  bool  `json:"guess,omitempty"`  // nobody noted it when it was removed: it is where the place began when it was first looked at
	Memory bool  `json:"memory,omitempty"` // the place does not outlive the daemon: what is from before the daemon's start is gone
}

// KeptTask is what a queue keeps of a task, without its payload, command and result.
type KeptTask struct {
	TaskID      string
	Tenant      string
	MailboxKey  string
	Status      Status
	Priority    Priority
	Units       int64
	Rank        int64
	Attempt     int
	Strikes     int
	MaxAttempts int
	Node        string
	Reason      string
	Deadline    Time
	SubmittedAt Time
	StartedAt   Time
	EndedAt     Time
	NotBefore   Time   // the end of its last rest
	Cancelled   bool   // its run was asked to stop
	Said        uint64 // a digest of message and result
}

// KeptMessage is what a mailbox keeps of a message.
type KeptMessage struct {
	TaskID     string
	Tenant     string
	MailboxKey string
	Status     Status
	Attempt    int
	Reason     string
	CreatedAt  Time
	Trimmed    bool   // its client has removed it; Reason and Said are not kept
	Said       uint64 // a digest of message and result
}
