package api

import (
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// LoadLimits bounds what all requests over TCP, or all requests over the socket, use at the same time. Zero fields
// have the defaults. A request that exceeds a limit is answered [park.Overloaded]. No request waits for a limit.
type LoadLimits struct {
	Waits   int   // requests that wait for a task, a message or a lease; default 1024
	Streams int   // streams of events; default 256
	Logs    int   // logs that are being read; default 256
	Bytes   int64 // of bodies longer than [smallBody] that are being read or processed; default 256 MiB
}

func (c LoadLimits) orDefault() LoadLimits {
	for _, n := range []*int{&c.Streams, &c.Logs} {
		if *n == 0 {
			*n = 256
		}
	}
	if c.Waits == 0 {
		c.Waits = 1024
	}
	if c.Bytes == 0 {
		c.Bytes = 256 << 20
	}
	return c
}

// smallBody is up to which length a body is not counted. The number of connections bounds these bodies.
const smallBody = 64 << 10

// retryAfter is how long a client that exceeded a limit should wait before it tries again.
const retryAfter = time.Second

// budgets are the limits of one listener, with their use.
type budgets struct{ waits, streams, logs, bytes budget }

func newBudgets(c LoadLimits) *budgets {
	c = c.orDefault()
	return &budgets{
		waits: newBudget("waiting requests", int64(c.Waits)), streams: newBudget("open event streams", int64(c.Streams)),
		logs: newBudget("open logs", int64(c.Logs)), bytes: newBudget("bytes of request bodies", c.Bytes),
	}
}

// InFlight is how many long-lasting requests are in progress.
type InFlight struct{ Waits, Streams, Logs int64 }

// InFlight returns how many long-lasting requests are in progress, by listener: tcp and unix.
func (a *API) InFlight() map[string]InFlight {
	return map[string]InFlight{"tcp": a.tcp.inFlight(), "unix": a.socket.inFlight()}
}

func (n *budgets) inFlight() InFlight {
	return InFlight{n.waits.inUse(), n.streams.inUse(), n.logs.inUse()}
}

// budget is a limited resource. A single tenant may have at most half of it.
type budget struct {
	name     string
	limit    int64
	mu       sync.Mutex
	used     int64
	byTenant map[string]int64 // tenant
}

func newBudget(what string, most int64) budget {
	return budget{name: what, limit: most, byTenant: make(map[string]int64)}
}

// acquire acquires n until release is called, or returns why it cannot.
func (b *budget) acquire(tenant string, n int64) (release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used > 0 && b.used+n > b.limit {
		return nil, overloaded("too many %s: the daemon allows %d at once", b.name, b.limit)
	}
	if share := b.limit / 2; tenant != "" && b.byTenant[tenant] > 0 && b.byTenant[tenant]+n > share {
		return nil, overloaded("too many %s of tenant %s: a tenant may have %d at once", b.name, tenant, share)
	}
	b.used += n
	if tenant != "" {
		b.byTenant[tenant] += n
	}
	return sync.OnceFunc(func() { b.release(tenant, n) }), nil
}

func (b *budget) release(tenant string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if tenant == "" {
		return
	}
	if b.byTenant[tenant] -= n; b.byTenant[tenant] == 0 {
		delete(b.byTenant, tenant)
	}
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

func overloaded(format string, args ...any) error {
	e := park.Errorf(park.Overloaded, format, args...)
	e.RetryAfter = retryAfter
	return e
}

// acquire acquires one unit of a budget for as long as the call lasts.
func (c *call) acquire(b *budget) error {
	release, err := b.acquire(c.caller.tenant, 1)
	if err == nil {
		c.releases = append(c.releases, release)
	}
	return err
}

// acquireBody acquires the bytes of the request's body. If the length is unknown, it acquires the maximum.
func (c *call) acquireBody() error {
	n := c.r.ContentLength
	if n < 0 {
		n = c.route.maxBody
	}
	if n <= smallBody {
		return nil
	}
	release, err := c.budgets.bytes.acquire(c.caller.tenant, n)
	if err != nil {
		return c.refuseBody(err)
	}
	c.releases = append(c.releases, release)
	return nil
}
