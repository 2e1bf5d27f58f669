package api

import (
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Crowd bounds what all requests that come in one way (over TCP, or by the socket) take together. Zero fields have the
// defaults. At a bound a request is answered [park.Overloaded], and nothing waits for room.
type Crowd struct {
	Waits   int   // requests that wait for a task, a message or a lease; default 1024
	Streams int   // streams of events; default 256
	Logs    int   // logs that are being read; default 256
	Bytes   int64 // of bodies longer than [smallBody] that are being read or worked on; default 256 MiB
}

func (c Crowd) orDefault() Crowd {
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

// smallBody is how long a body may be that is not counted: those are as few as the connections.
const smallBody = 64 << 10

// comeBack is when whoever was turned away at a bound may try again.
const comeBack = time.Second

// counters are the budgets of one way in.
type counters struct{ waits, streams, logs, bytes budget }

func newCounters(c Crowd) *counters {
	c = c.orDefault()
	return &counters{
		waits: newBudget("waiting requests", int64(c.Waits)), streams: newBudget("open event streams", int64(c.Streams)),
		logs: newBudget("open logs", int64(c.Logs)), bytes: newBudget("bytes of request bodies", c.Bytes),
	}
}

// Held is how many requests that last are under way.
type Held struct{ Waits, Streams, Logs int64 }

// Held returns how many requests that last are under way, by way in: tcp and unix.
func (a *API) Held() map[string]Held {
	return map[string]Held{"tcp": a.tcp.held(), "unix": a.socket.held()}
}

func (n *counters) held() Held { return Held{n.waits.now(), n.streams.now(), n.logs.now()} }

// budget is what there may be of something, of which one tenant may have no more than half.
type budget struct {
	what string
	most int64
	mu   sync.Mutex
	used int64
	by   map[string]int64 // tenant
}

func newBudget(what string, most int64) budget {
	return budget{what: what, most: most, by: make(map[string]int64)}
}

// take takes n until release is called, or says why not.
func (b *budget) take(tenant string, n int64) (release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used > 0 && b.used+n > b.most {
		return nil, crowded("too many %s: the daemon allows %d at once", b.what, b.most)
	}
	if share := b.most / 2; tenant != "" && b.by[tenant] > 0 && b.by[tenant]+n > share {
		return nil, crowded("too many %s of tenant %s: a tenant may have %d at once", b.what, tenant, share)
	}
	b.used += n
	if tenant != "" {
		b.by[tenant] += n
	}
	return sync.OnceFunc(func() { b.give(tenant, n) }), nil
}

func (b *budget) give(tenant string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if tenant == "" {
		return
	}
	if b.by[tenant] -= n; b.by[tenant] == 0 {
		delete(b.by, tenant)
	}
}

func (b *budget) now() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

func crowded(format string, args ...any) error {
	e := park.Errorf(park.Overloaded, format, args...)
	e.RetryAfter = comeBack
	return e
}

// hold takes one of a budget for as long as the call lasts.
func (c *call) hold(b *budget) error {
	release, err := b.take(c.who.tenant, 1)
	if err == nil {
		c.held = append(c.held, release)
	}
	return err
}

// holdBody takes the room for the request's body: for one whose length is not told, for the longest.
func (c *call) holdBody() error {
	n := c.r.ContentLength
	if n < 0 {
		n = c.route.most
	}
	if n <= smallBody {
		return nil
	}
	release, err := c.counters.bytes.take(c.who.tenant, n)
	if err != nil {
		return c.unread(err)
	}
	c.held = append(c.held, release)
	return nil
}
