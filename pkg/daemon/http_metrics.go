package daemon

import (
	"runtime"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/api"
)

// httpMetrics measures requests and connections, and which pools accept tasks.
type httpMetrics struct {
	requests   *family
	durations  *family
	version    string
	limited    map[string]*limitListener
	poolErrors func() map[string]error    // set before the first scrape
	held       func() map[string]api.Held // by way: tcp or unix
}

func newHTTPMetrics(version string, limited map[string]*limitListener) *httpMetrics {
	return &httpMetrics{
		requests: requestsTotal.counter(), durations: requestSeconds.histogram(0.0005, 2, 15), version: version, limited: limited,
	}
}

func (m *httpMetrics) families() []*family {
	return []*family{m.requests, m.durations}
}

// observe is [api.Config.Observe].
func (m *httpMetrics) observe(route, method string, status int, took time.Duration, lasting bool) {
	m.requests.add(1, strconv.Itoa(status), method, route)
	if !lasting {
		m.durations.observe(took.Seconds(), method, route)
	}
}

// gauges sets the gauges of connections and open requests.
func (m *httpMetrics) gauges(set gauge) {
	set(buildInfo, 1, runtime.Version(), m.version)
	for way, listener := range m.limited {
		open, rejected := listener.counts()
		set(connectionsOpen, float64(open), way)
		set(connsRefused, float64(rejected), way)
	}
	for way, held := range m.held() {
		set(requestsHeld, float64(held.Waits), "waits", way)
		set(requestsHeld, float64(held.Streams), "streams", way)
		set(requestsHeld, float64(held.Logs), "logs", way)
	}
	for pool, err := range m.poolErrors() {
		set(poolReady, boolValue(err == nil), pool)
	}
}
