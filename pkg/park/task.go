package park

import (
	"encoding/json"
	"strconv"
	"time"
)

// Spec is the part of a task that never changes after its submission.
type Spec struct {
	PoolID      string
	TaskID      string
	Tenant      string
	MailboxKey  string // "" where no message is wanted
	Priority    Priority
	Units       int64
	Deadline    Time          // zero: may wait for ever
	Timeout     time.Duration // 0: may run for ever
	Retry       Retry
	Payload     json.RawMessage
	Command     []string
	WorkDir     string
	SubmittedAt Time
	Digest      uint64 // of the submission: what is sent again is the same if this is
}

// Size returns how many bytes a submission brings, roughly.
func (s *Spec) Size() int {
	n := len(s.Payload) + len(s.WorkDir)
	for _, arg := range s.Command {
		n += len(arg) + len(`"",`)
	}
	return n
}

// State is the part of a task that its pool's scheduler changes, step by step.
type State struct {
	Status    Status
	Rank      int64 // place among the parked tasks of its priority, the lowest first
	Attempt   int   // 0 before the first run
	Strikes   int   // runs that count against Retry.MaxAttempts
	NotBefore Time  // the end of a backoff: a parked task does not start earlier
	Cancelled bool  // a running task that is to be dropped instead of ended or requeued
	Node      string
	Lease     string // the lease that a running task was started for; kept after its end
	LeaseTTL  time.Duration
	StartedAt Time
	EndedAt   Time
	Reason    string
	Message   string
	Result    json.RawMessage
}

// Update sets the state of a task.
type Update struct {
	TaskID string
	State  State
}

// Record is a task as a queue backend keeps it.
type Record struct {
	Spec
	State
}

// Task is a task as clients see it.
type Task struct {
	TaskID       string          `json:"taskId"`
	PoolID       string          `json:"poolId"`
	Tenant       string          `json:"tenant,omitempty"`
	Status       Status          `json:"status"`
	Priority     Priority        `json:"priority"`
	ResourceCost Cost            `json:"resourceCost,omitzero"`
	Position     int64           `json:"position,omitempty"` // from 1, among the parked tasks of the pool
	Waiting      *Waiting        `json:"waiting,omitempty"`  // why a parked task cannot start, where there is something to say
	Attempt      int             `json:"attempt,omitempty"`
	Node         string          `json:"node,omitempty"`
	Deadline     Time            `json:"deadline,omitzero"`
	TimeoutSecs  Seconds         `json:"timeoutSecs,omitempty"`
	MailboxKey   string          `json:"mailboxKey,omitempty"`
	Command      []string        `json:"command,omitempty"`
	Reason       string          `json:"reason,omitempty"`
	Message      string          `json:"message,omitempty"`
	Result       json.RawMessage `json:"result,omitempty"`
	SubmittedAt  Time            `json:"submittedAt,omitzero"`
	StartedAt    Time            `json:"startedAt,omitzero"`
	CompletedAt  Time            `json:"completedAt,omitzero"`
}

// Waiting says why a parked task waits.
type Waiting struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// WaitsLarger is the code of a parked task that costs more units than its pool has, because that was changed since it was
// submitted. It starts if the capacity comes back, and blocks no other task meanwhile.
const WaitsLarger = "larger_than_pool"

// View returns r as clients see it. kind is the pool's, position 0 for a task that is not parked.
func (r *Record) View(kind Kind, position int64) Task {
	return Task{
		TaskID: r.TaskID, PoolID: r.PoolID, Tenant: r.Tenant, Status: r.Status, Priority: r.Priority,
		ResourceCost: Cost{Kind: kind, Units: Units(r.Units)}, Position: position,
		Attempt: r.Attempt, Node: r.Node, Deadline: r.Deadline,
		TimeoutSecs: Seconds(r.Timeout / time.Second), MailboxKey: r.MailboxKey, Command: r.Command,
		Reason: r.Reason, Message: r.Message, Result: r.Result,
		SubmittedAt: r.SubmittedAt, StartedAt: r.StartedAt, CompletedAt: r.EndedAt,
	}
}

// Accepted is the answer to a submission that was taken, or had been taken before.
type Accepted struct {
	TaskID      string `json:"taskId"`
	PoolID      string `json:"poolId"`
	Status      Status `json:"status"`
	Position    int64  `json:"position,omitempty"` // from 1; only while queued
	SubmittedAt Time   `json:"submittedAt"`
}

// AppendJSON appends what [json.Marshal] makes of a, but for the escapes that text in HTML needs.
func (a *Accepted) AppendJSON(b []byte) []byte {
	b = appendText(append(b, `{"taskId":`...), a.TaskID)
	b = appendText(append(b, `,"poolId":`...), a.PoolID)
	b = appendText(append(b, `,"status":`...), string(a.Status))
	if a.Position != 0 {
		b = strconv.AppendInt(append(b, `,"position":`...), a.Position, 10)
	}
	b = append(b, `,"submittedAt":"`...)
	return append(a.SubmittedAt.UTC().AppendFormat(b, timeLayout), '"', '}')
}

// appendText appends s as a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always can be
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// SubmitResult is the outcome of one submission of a batch: Accepted, or Err where it was refused.
type SubmitResult struct {
	Accepted
	Err *Error
}

// TaskQuery selects tasks of one pool, newest first.
type TaskQuery struct {
	Status Status // "" for all
	Tenant string // "" for all
	Limit  int
	Cursor string // TaskPage.Next of the page before
}

// TaskPage is one page of tasks. Next is "" on the last one.
type TaskPage struct {
	Tasks []Task `json:"tasks"`
	Next  string `json:"next,omitempty"`
}
