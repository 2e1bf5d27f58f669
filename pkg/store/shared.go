package store

import (
	"context"
	"errors"
	"time"
)

// Shared is what a [Store] also offers where several nodes may work on one database.
type Shared interface {
	// Since returns what became of a pool after rev, as a Conflict would tell it; nil where nothing did.
	ChangesSince(ctx context.Context, pool string, rev int64) (*Conflict, error)
	// Revs returns the revs that pools are at; those never committed are left out.
	Revs(ctx context.Context, pools []string) (map[string]int64, error)

	// Secure returns once all that this node has read from the store is as durable as what it commits. Without it a node may
	// have read, of another node's step, what the loss of a server would still undo.
	AwaitDurable(ctx context.Context) error

	// Turn notes that a node has a step for a pool, and returns how many others that had one before are to go first. A
	// conflict notes it too. It is advice: a step that comes before its turn is taken like any other. With a step that is
	// taken its node has had its turn, and so have those before it that have not come.
	//
	// A node may leave a note of what it would have another store for it, and stands in no line where that is all it has.
	// Whose turn it is gets the notes of the others, once, the oldest first, up to [MaxNotes]; the rest is for whose turn is
	// next. A note may be lost, and may come late.
	RequestTurn(ctx context.Context, pool, node string, h Delegation) (Turn, error)

	// Beat moves a node's counter on by one, notes by which terms it lives, and returns the pulses of all nodes that are
	// not dead, its own among them. The first beat makes the node known. It returns [ErrDead] to a node that another has
	// buried.
	Heartbeat(ctx context.Context, node string, own NodeConfig) (map[string]NodeHeartbeat, error)
	// Bury marks a node as dead, unless its counter has moved on from the given one or it is dead already, and says
	// whether it did.
	DeclareDead(ctx context.Context, node string, counter int64) (bool, error)
	// Leave forgets a node, which must not beat again.
	RemoveNode(ctx context.Context, node string) error

	// KeepLease notes that the lease of a running task was kept, and for how long from now on. It returns the counter.
	RenewLease(ctx context.Context, k LeaseRenewal) (int64, error)
	// Leases returns how often the leases of tasks were kept; those never kept are left out.
	LeaseRenewals(ctx context.Context, pool string, tasks []string) ([]LeaseRenewal, error)

	// Announce tells the other nodes that a pool has come to a rev, as a hint: it may be lost, and may come twice.
	NotifyRev(ctx context.Context, pool string, rev int64) error
	// Listen calls heard for each hint, those of this node among them, until ctx ends or hints cease to come for a
	// reason that it returns.
	Listen(ctx context.Context, heard func(pool string, rev int64)) error
}

// Delegation is what a node that waits for its turn would have another store for it. The zero value is nothing.
type Delegation struct {
	Note []byte // of a form that only the nodes know
	All  bool   // it is all that the node has
}

// MaxNoteBytes is how many bytes of notes are given out at once, but for the last of them.
const MaxNoteBytes = 4 << 20

// Turn is where a node stands in line.
type Turn struct {
	Ahead int      // nodes that go first
	Notes [][]byte // of the others, for who is first
}

// NodeConfig are what a node tells the others of itself: how long it may fail to beat, and what its pools are configured with.
type NodeConfig struct {
	TTL          time.Duration // before it stops what it runs; 0: it has not said
	Grace        time.Duration // for that to stop
	PoolSettings string        // of a form that only the nodes know; "": it has not said
}

// Longest returns the longer of both times, without settings.
func (t NodeConfig) Longest(other NodeConfig) NodeConfig {
	return NodeConfig{TTL: max(t.TTL, other.TTL), Grace: max(t.Grace, other.Grace)}
}

// NodeHeartbeat is what nodes know of one of them.
type NodeHeartbeat struct {
	Counter int64
	NodeConfig
}

// LeaseRenewal is a lease that a worker keeps.
type LeaseRenewal struct {
	PoolID, TaskID string
	Lease          string
	Counter        int64 // how often it was kept; the store counts
	TTL            time.Duration
}

// ErrDead is returned to a node that another node took for dead.
var ErrDead = errors.New("another node took this node for dead and took over its tasks")
