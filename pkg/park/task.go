package park

import "encoding/json"

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

// WaitsLarger is the code of a parked task that costs more units than its pool has, because the capacity was lowered
// after its submission. It starts if the capacity is raised again, and blocks no other task meanwhile.
const WaitsLarger = "larger_than_pool"

// Accepted is the answer to a submission that was taken, or had been taken before.
type Accepted struct {
	TaskID      string `json:"taskId"`
	PoolID      string `json:"poolId"`
	Status      Status `json:"status"`
	Position    int64  `json:"position,omitempty"` // from 1; only while queued
	SubmittedAt Time   `json:"submittedAt"`
}

// SubmitResult is the result of one submission of a batch: Accepted, or Err if it was refused.
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
