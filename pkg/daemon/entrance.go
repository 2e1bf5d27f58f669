package daemon

import (
	"runtime"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/api"
)

// entrance measures what comes in: requests, connections, and which pools take work.
type entrance struct {
	requests  *family
	durations *family
	version   string
	doors     map[string]*door
	troubles  func() map[string]error    // set before anybody reads the metrics
	held      func() map[string]api.Held // by way in
}

func newEntrance(version string, doors map[string]*door) *entrance {
	return &entrance{
		requests: requestsTotal.counter(), durations: requestSeconds.histogram(0.0005, 2, 15), version: version, doors: doors,
	}
}

func (e *entrance) families() []*family {
	return []*family{e.requests, e.durations}
}

// observe is [api.Config.Observe].
func (e *entrance) observe(route, method string, status int, took time.Duration, lasting bool) {
	e.requests.add(1, strconv.Itoa(status), method, route)
	if !lasting {
		e.durations.observe(took.Seconds(), method, route)
	}
}

// gauges sets what is open at the moment.
func (e *entrance) gauges(set gauge) {
	set(buildInfo, 1, runtime.Version(), e.version)
	for way, door := range e.doors {
		open, refused := door.counts()
		set(connectionsOpen, float64(open), way)
		set(connsRefused, float64(refused), way)
	}
	for way, held := range e.held() {
		set(requestsHeld, float64(held.Waits), "waits", way)
		set(requestsHeld, float64(held.Streams), "streams", way)
		set(requestsHeld, float64(held.Logs), "logs", way)
	}
	for pool, err := range e.troubles() {
		set(poolReady, flag(err == nil), pool)
	}
}
