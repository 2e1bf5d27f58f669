package daemon

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parkd-dev/parkd/pkg/config"
)

// TestMetricsAreDocumented holds the table of metrics in the operator's guide against what the daemon measures.
func TestMetricsAreDocumented(t *testing.T) {
	guide, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for line := range bytes.Lines(guide) {
		if cells := strings.Split(string(line), "|"); len(cells) > 1 {
			for _, m := range regexp.MustCompile("`(parkd_[a-z_]+)").FindAllStringSubmatch(cells[1], -1) {
				documented[m[1]] = true
			}
		}
	}
	descs := make(chan *prometheus.Desc, 1000)
	all := append(newMeter().collectors(), newEntrance("", nil).collectors()...)
	for _, c := range append(all, gauges{}) {
		c.Describe(descs)
	}
	close(descs)
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	var measured []string
	for d := range descs {
		measured = append(measured, name.FindStringSubmatch(d.String())[1])
	}
	for _, m := range measured {
		if !documented[m] {
			t.Errorf("%s is not in docs/operations.md", m)
		}
	}
	for m := range documented {
		if !slices.Contains(measured, m) {
			t.Errorf("%s is in docs/operations.md and not measured", m)
		}
	}
}

// TestMetricsOfWhatComesIn: requests are counted by route and status, and connections by way in.
func TestMetricsOfWhatComesIn(t *testing.T) {
	l := runDaemon(t, &config.Config{})
	get := func(path string) string {
		resp, err := http.Get(l.URL + path) //nolint:noctx // a test's own
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	get("/pools")
	get("/pools/sim/tasks/none")
	get("/nowhere")
	text := get("/metrics")
	for _, want := range []string{
		`parkd_http_requests_total{code="200",method="GET",route="/pools"} 1`,
		`parkd_http_requests_total{code="404",method="GET",route="/pools/{poolId}/tasks/{taskId}"} 1`,
		`parkd_http_requests_total{code="404",method="other",route=""} 1`,
		`parkd_http_request_duration_seconds_count{method="GET",route="/pools"} 1`,
		`parkd_connections{way="tcp"} 1`, `parkd_connections_refused_total{way="unix"} 0`, `parkd_pool_ready{pool="sim"} 1`, "parkd_build_info{",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}
