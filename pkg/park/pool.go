package park

import "time"

// PoolState says what a pool does with its tasks.
type PoolState string

// The states of a pool.
const (
	Active   PoolState = "active"   // parks and starts
	Paused   PoolState = "paused"   // parks, starts nothing
	Draining PoolState = "draining" // accepts nothing, starts and finishes what it has
)

// PoolStates lists every state.
func PoolStates() []PoolState { return []PoolState{Active, Paused, Draining} }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *PoolState) UnmarshalText(b []byte) (err error) {
	*s, err = oneOf("state", string(b), PoolStates())
	return err
}

// PoolSpec is a pool as its operator configured it.
type PoolSpec struct {
	ID             string
	Kind           Kind
	MaxUnits       int64
	MaxQueueDepth  int
	DefaultTimeout time.Duration // 0: no limit
	MaxResultBytes int64         // of a task's result as JSON; 0: DefaultMaxResult
	Retry          Retry         // for tasks that bring none of their own
	Runtime        Runtime
	Executor       string // the executor's type, for display
	QueueBackend   Backend
	MailboxBackend Backend
	// TakesCommands says that a submission may bring a command of its own.
	TakesCommands bool
	// NeedsCommand says that a submission must bring one: the pool runs commands and has none of its own.
	NeedsCommand bool
}

// Pool is a pool as clients see it.
type Pool struct {
	PoolID             string    `json:"poolId"`
	Kind               Kind      `json:"kind"`
	MaxUnits           int64     `json:"maxUnits"`
	UsedUnits          int64     `json:"usedUnits"`
	MaxQueueDepth      int       `json:"maxQueueDepth"`
	QueueDepth         int       `json:"queueDepth"`
	Running            int       `json:"running"`
	State              PoolState `json:"state"`
	DefaultTimeoutSecs int64     `json:"defaultTimeoutSecs"`
	QueueBackend       Backend   `json:"queueBackend"`
	MailboxBackend     Backend   `json:"mailboxBackend"`
	Runtime            Runtime   `json:"runtime"`
	Executor           string    `json:"executor"`
	Halted             string    `json:"halted,omitempty"` // why the pool refuses to go on
	// StartsDeferred says that the daemon that was asked starts tasks of the pool only now and then, and why.
	StartsDeferred *Deferral `json:"startsDeferred,omitempty"`
	// Warning is for people, in the answer to a change: what follows from it that they may not have meant.
	Warning string `json:"warning,omitempty"`
}

// Deferral is a period in which a daemon defers the starts of a pool because the machine lacks resources.
type Deferral struct {
	Reason  string `json:"reason"` // one of the Short constants
	Message string `json:"message"`
	Since   Time   `json:"since"`
}

// DefaultMaxResult is how many bytes a task's result may have as JSON.
const DefaultMaxResult = 1 << 20

// PoolPatch changes a pool; nil fields stay as they are.
type PoolPatch struct {
	State         *PoolState `json:"state,omitempty"`
	MaxUnits      *int64     `json:"maxUnits,omitempty"`
	MaxQueueDepth *int       `json:"maxQueueDepth,omitempty"`
}

// Check refuses values that no pool can have.
func (p PoolPatch) Check() error {
	if p.State != nil {
		if _, err := oneOf("state", string(*p.State), PoolStates()); err != nil {
			return Errorf(InvalidRequest, "%v", err)
		}
	}
	switch {
	case p.MaxUnits != nil && (*p.MaxUnits < 0 || *p.MaxUnits > MaxUnits):
		return Errorf(InvalidRequest, "maxUnits must be from 0 to %d, not %d", int64(MaxUnits), *p.MaxUnits)
	case p.MaxQueueDepth != nil && (*p.MaxQueueDepth < 0 || *p.MaxQueueDepth > MaxQueueDepth):
		return Errorf(InvalidRequest, "maxQueueDepth must be from 0 to %d, not %d", MaxQueueDepth, *p.MaxQueueDepth)
	case p == PoolPatch{}:
		return Errorf(InvalidRequest, "give at least one of state, maxUnits, maxQueueDepth")
	}
	return nil
}

// MaxQueueDepth bounds how many tasks a pool may be told to park.
const MaxQueueDepth = 100_000_000
