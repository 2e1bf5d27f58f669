package park

import "encoding/json"

// LeaseRequest asks for tasks to work on.
type LeaseRequest struct {
	Worker string   `json:"worker,omitempty"` // who asks, for people
	Max    int      `json:"max,omitempty"`    // at most so many tasks, and as many as fit into an answer; default 1
	TTL    Duration `json:"ttl,omitempty"`    // how long the lease lives without being kept; default 30s
	Wait   Duration `json:"wait,omitempty"`   // how long to wait for a first task
}

// Lease is a task leased to a worker. Only the worker knows the lease's id, which is void for later attempts.
type Lease struct {
	LeaseID     string          `json:"leaseId"`
	TaskID      string          `json:"taskId"`
	PoolID      string          `json:"poolId"`
	Tenant      string          `json:"tenant,omitempty"`
	Attempt     int             `json:"attempt"`
	Units       int64           `json:"units"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	Command     []string        `json:"command,omitempty"`
	WorkDir     string          `json:"workDir,omitempty"`
	TimeoutSecs Seconds         `json:"timeoutSecs,omitempty"`
	ExpiresAt   Time            `json:"expiresAt,omitzero"` // for people: what counts is the daemon's own clock
}

// LeasePage is the answer to a LeaseRequest. It has no leases if no task came within the wait.
type LeasePage struct {
	Leases []Lease `json:"leases"`
}

// KeepRequest renews a lease.
type KeepRequest struct {
	TTL      Duration `json:"ttl,omitempty"`      // default: as before
	Progress *float64 `json:"progress,omitempty"` // 0 to 1
}

// Kept is a lease that was renewed.
type Kept struct {
	LeaseID   string `json:"leaseId"`
	ExpiresAt Time   `json:"expiresAt"`
}

// LeaseResult ends a lease's task.
type LeaseResult struct {
	Status  Status          `json:"status"` // completed or failed
	Payload json.RawMessage `json:"payload,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Message string          `json:"message,omitempty"`
}

// LeaseRelease gives back a lease whose task has not begun.
type LeaseRelease struct {
	Message string `json:"message,omitempty"` // why, for people
}
