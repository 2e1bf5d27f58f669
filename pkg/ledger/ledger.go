// Package ledger has tasks and pools in the form in which the scheduler decides on them and queue backends store them.
// Clients see them as types of package park.
package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Spec is the part of a task that never changes after its submission.
type Spec struct {
	PoolID      string
	TaskID      string
	Tenant      string
	MailboxKey  string // "" if no message is wanted
	Priority    park.Priority
	Units       int64
	Deadline    park.Time     // zero: no deadline
	Timeout     time.Duration // 0: no time limit
	Retry       park.Retry
	Payload     json.RawMessage
	Command     []string
	WorkDir     string
	SubmittedAt park.Time
	Digest      uint64 // of the submission: a submission with the same id and digest is a repetition
}

// Size returns roughly how many bytes a submission has.
func (s *Spec) Size() int {
	n := len(s.Payload) + len(s.WorkDir)
	for _, arg := range s.Command {
		n += len(arg) + len(`"",`)
	}
	return n
}

// State is the part of a task that its pool's scheduler changes with each step.
type State struct {
	Status    park.Status
	Rank      int64     // order among the parked tasks of its priority, the lowest first
	Attempt   int       // 0 before the first run
	Failures  int       // failed runs that count against Retry.MaxAttempts; stored as strikes
	NotBefore park.Time // the end of a backoff: a parked task does not start earlier
	Cancelled bool      // a running task that will be dropped instead of ended or requeued
	Node      string
	Lease     string // the lease that a running task was started for; kept after its end
	LeaseTTL  time.Duration
	StartedAt park.Time
	EndedAt   park.Time
	Reason    string
	Message   string
	Result    json.RawMessage
}

// Update sets the state of a task.
type Update struct {
	TaskID string
	State  State
}

// Record is a task as a queue backend stores it.
type Record struct {
	Spec
	State
}

// View returns r as clients see it. kind is that of the pool. position is 0 for a task that is not parked.
func (r *Record) View(kind park.Kind, position int64) park.Task {
	return park.Task{
		TaskID: r.TaskID, PoolID: r.PoolID, Tenant: r.Tenant, Status: r.Status, Priority: r.Priority,
		ResourceCost: park.Cost{Kind: kind, Units: park.Units(r.Units)}, Position: position,
		Attempt: r.Attempt, Node: r.Node, Deadline: r.Deadline,
		TimeoutSecs: park.Seconds(r.Timeout / time.Second), MailboxKey: r.MailboxKey, Command: r.Command,
		Reason: r.Reason, Message: r.Message, Result: r.Result,
		SubmittedAt: r.SubmittedAt, StartedAt: r.StartedAt, CompletedAt: r.EndedAt,
	}
}

// Evidence returns r as evidence. r must have its result.
func (r *Record) Evidence() park.KeptTask {
	return park.KeptTask{
		TaskID: r.TaskID, Tenant: r.Tenant, MailboxKey: r.MailboxKey, Status: r.Status, Priority: r.Priority, Units: r.Units,
		Rank: r.Rank, Attempt: r.Attempt, Strikes: r.Failures, MaxAttempts: r.Retry.MaxAttempts, Node: r.Node, Reason: r.Reason,
		Deadline: r.Deadline, SubmittedAt: r.SubmittedAt, StartedAt: r.StartedAt, EndedAt: r.EndedAt, NotBefore: r.NotBefore, Cancelled: r.Cancelled,
		Said: OutcomeDigest(r.Message, r.Result),
	}
}

// Pool is what a queue backend stores about a pool: its limits, its totals and its clock.
type Pool struct {
	Rev           int64 // the last committed step
	MaxUnits      int64
	MaxQueueDepth int
	State         park.PoolState
	Used          int64     // units of the running tasks
	Queued        int       // parked tasks
	LastAt        park.Time // time of the last step: a pool's time never runs backwards
	// ConfiguredUnits and ConfiguredDepth are the limits that the configuration set last. A change of the limits by an
	// operator lasts until the configuration changes.
	ConfiguredUnits int64
	ConfiguredDepth int
	LastStep        string // id of the last committed step
}

// OutcomeDigest returns a digest of the message and the result with which a task ended.
func OutcomeDigest(message string, result []byte) uint64 {
	if message == "" && len(result) == 0 {
		return 0
	}
	sum := sha256.Sum256(result)
	return OutcomeDigestFromSum(message, sum[:])
}

// OutcomeDigestFromSum is OutcomeDigest for a result whose SHA-256 is known.
func OutcomeDigestFromSum(message string, sum []byte) uint64 {
	digest := binary.BigEndian.Uint64(sum)
	if message != "" {
		text := sha256.Sum256([]byte(message))
		digest = digest*31 + binary.BigEndian.Uint64(text[:])
	}
	return digest
}
