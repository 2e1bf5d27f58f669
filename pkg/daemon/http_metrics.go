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
	poolErrors func() map[string]error        // set before the first scrape
	held       func() map[string]api.InFlight // by way: tcp or unix
}

func newHTTPMetrics(version string, limited map[string]*limitListener) *httpMetrics {
	return &httpMetrics{
		requests:  counter("parkd_http_requests_total", "Answered requests by route, method and status.", "code", "method", "route"),
		durations: histogram(buckets(0.0005, 2, 15), "parkd_http_request_duration_seconds", "Time to answer requests that neither wait nor stream.", "method", "route"),
		version:   version, limited: limited,
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
	set("parkd_build_info", "1, with the version of the daemon and of Go.", 1, "goversion", runtime.Version(), "version", m.version)
	for way, listener := range m.limited {
		open, rejected := listener.counts()
		set("parkd_connections", "Open connections: tcp or unix.", float64(open), "way", way)
		set("parkd_connections_refused_total", "Connections refused because all were in use.", float64(rejected), "way", way)
	}
	for way, held := range m.held() {
		for kind, n := range map[string]int64{"waits": held.Waits, "streams": held.Streams, "logs": held.Logs} {
			set("parkd_requests_held", "Open long-lived requests: waits, streams or logs.", float64(n), "kind", kind, "way", way)
		}
	}
	for pool, err := range m.poolErrors() {
		set("parkd_pool_ready", "1 if this node accepts tasks for the pool; 0 if its store is unavailable, or the pool has halted.", boolValue(err == nil), "pool", pool)
	}
}
