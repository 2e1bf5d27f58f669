package store

import (
	"context"
	"errors"
	"time"
)

// Shared is also offered by a [Store] that several nodes may use at once.
type Shared interface {
	// ChangesSince returns what changed in a pool after rev, as a Conflict has it, or nil if nothing did.
	ChangesSince(ctx context.Context, pool string, rev int64) (*Conflict, error)
	// Revs returns the current revs of pools, without those that were never committed.
	Revs(ctx context.Context, pools []string) (map[string]int64, error)

	// AwaitDurable returns once everything that this node has read from the store is as durable as what it commits.
	// Without it, the loss of a server could undo another node's step that this node has read.
	AwaitDurable(ctx context.Context) error

	// RequestTurn notes that a node has a step for a pool, and returns how many nodes go first because they had a step
	// earlier. A conflict notes it too. Turns are advice: a step that comes before its turn is taken like any other. When
	// a step is taken, the turn of its node is over, and so are the turns of nodes before it that did not come.
	//
	// A node may leave a note about work that other nodes may store for it. If that is all it has, it does not wait for a
	// turn. The node whose turn it is gets the notes of the others, once, the oldest first, up to [MaxNoteBytes]. The rest
	// is for the next node. A note may be lost or come late.
	RequestTurn(ctx context.Context, pool, node string, h Delegation) (Turn, error)

	// Heartbeat increments a node's counter, stores the node's configuration, and returns the heartbeats of all nodes
	// that are not dead, including its own. The first heartbeat registers the node. A node that another has declared
	// dead gets [ErrDead].
	Heartbeat(ctx context.Context, node string, own NodeConfig) (map[string]NodeHeartbeat, error)
	// DeclareDead marks a node as dead, unless its counter differs from the given one or it is dead already. It
	// reports whether it did.
	DeclareDead(ctx context.Context, node string, counter int64) (bool, error)
	// RemoveNode removes a node, which must not send heartbeats any more.
	RemoveNode(ctx context.Context, node string) error

	// RenewLease stores that the lease of a running task was renewed, and for how long from now on. It returns the
	// counter.
	RenewLease(ctx context.Context, k LeaseRenewal) (int64, error)
	// LeaseRenewals returns how often the leases of tasks were renewed, without those that never were.
	LeaseRenewals(ctx context.Context, pool string, tasks []string) ([]LeaseRenewal, error)

	// NotifyRev tells the other nodes that a pool has reached a rev. This is only a hint: it may be lost or come
	// twice.
	NotifyRev(ctx context.Context, pool string, rev int64) error
	// Listen calls heard for each hint, including this node's own, until ctx ends or no more hints can come. It
	// returns the reason.
	Listen(ctx context.Context, heard func(pool string, rev int64)) error
}

// Delegation is work that a waiting node lets others store for it. The zero value is none.
type Delegation struct {
	Note []byte // in a format that only the nodes know
	All  bool   // the node has no other work for the step
}

// MaxNoteBytes bounds how many bytes of notes are returned at once. Only the last of them may exceed it.
const MaxNoteBytes = 4 << 20

// Turn is a node's place among those that wait for a turn.
type Turn struct {
	Ahead int      // nodes that go first
	Notes [][]byte // notes of the other nodes, for the node whose turn it is
}

// NodeConfig is what a node tells the others about itself: how long it may go without a heartbeat, and the
// configuration of its pools.
type NodeConfig struct {
	TTL          time.Duration // after this long without a heartbeat it stops its runs; 0: unknown
	Grace        time.Duration // how long the runs may take to stop
	PoolSettings string        // in a format that only the nodes know; "": unknown
}

// Longest returns the longer of both times, without the settings.
func (t NodeConfig) Longest(other NodeConfig) NodeConfig {
	return NodeConfig{TTL: max(t.TTL, other.TTL), Grace: max(t.Grace, other.Grace)}
}

// NodeHeartbeat is what the nodes know about one of them.
type NodeHeartbeat struct {
	Counter int64
	NodeConfig
}

// LeaseRenewal is a lease that a worker has renewed.
type LeaseRenewal struct {
	PoolID, TaskID string
	Lease          string
	Counter        int64 // how often the lease was renewed; set by the store
	TTL            time.Duration
}

// ErrDead is returned to a node that another node has declared dead.
var ErrDead = errors.New("another node declared this node dead and took over its tasks")
