package daemon

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestMetricsAreDocumented compares the table of metrics in docs/operations.md with the metrics of the daemon.
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
	var measured []string
	for _, file := range []string{"meter.go", "http_metrics.go", "state_metrics.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"(parkd_[a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
			measured = append(measured, m[1])
		}
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

// TestMetricsOfWhatComesIn: requests are counted by route and status, and connections by way.
func TestMetricsOfWhatComesIn(t *testing.T) {
	l := runDaemon(t, &config.Config{})
	get := func(path string) string {
		resp, err := http.Get(l.URL + path)
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

// filledMeter returns a meter with counts of each kind.
func filledMeter() *meter {
	m := newMeter()
	m.TaskEnded("cpu", park.Failed, park.ReasonTimeout)
	m.TaskEnded("cpu", park.Failed, "a worker's own words, 1")
	m.TaskEnded("cpu", park.Failed, "a worker's own words, 2")
	m.RunTime("cpu", park.Failed, time.Second)
	m.Rejected("cpu", park.QueueFull)
	m.StepRetried(park.File, engine.RetryInDoubt)
	m.StoreFailed(park.File, engine.RequestStep)
	return m
}

func exposed(e *exposition) string {
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	return w.Body.String()
}

// TestReasonsAreFew: all reasons of workers that parkd does not know share one series.
func TestReasonsAreFew(t *testing.T) {
	out := exposed(&exposition{families: filledMeter().families()})
	for _, want := range []string{
		`parkd_tasks_ended_total{pool="cpu",reason="other",status="failed"} 2`, `parkd_tasks_ended_total{pool="cpu",reason="timeout",status="failed"} 1`,
		`parkd_run_duration_seconds_count{pool="cpu",status="failed"} 1`, `parkd_rejections_total{code="queue_full",pool="cpu"} 1`,
		`parkd_steps_retried_total{reason="in_doubt",store="file"} 1`, `parkd_store_errors_total{asked="step",store="file"} 1`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if strings.Contains(out, "words") {
		t.Error("a worker's words are a label")
	}
}

// TestMetricsOfPoolsAndStores: a daemon exposes the state of its pools and stores.
func TestMetricsOfPoolsAndStores(t *testing.T) {
	l := runDaemon(t, &config.Config{})
	resp, err := http.Get(l.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`parkd_pool_running_here{pool="sim"} 0`, `parkd_pool_oldest_parked_seconds{pool="sim"} 0`, `parkd_pool_starts_deferred{pool="sim"} 0`,
		`parkd_store_up{store="in_memory"} 1`, `parkd_requests_held{kind="logs",way="unix"} 0`, `parkd_requests_held{kind="waits",way="tcp"} 0`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// TestTextFormat: Prometheus' own parser reads what the daemon exposes, with the type and the help text of each metric.
func TestTextFormat(t *testing.T) {
	hostile := "a\\b\"c\nd"
	e := &exposition{families: filledMeter().families(), gauges: []func(gauge){func(set gauge) {
		set("parkd_pool_used_units", "Units in use by running tasks.", 1<<40, "pool", hostile)
	}}}
	text := exposed(e)
	for _, want := range []string{
		"# HELP parkd_pool_used_units Units in use by running tasks.\n# TYPE parkd_pool_used_units gauge\n" +
			`parkd_pool_used_units{pool="a\\b\"c\nd"} 1099511627776` + "\n",
		"# TYPE parkd_run_duration_seconds histogram\n", `parkd_run_duration_seconds_bucket{pool="cpu",status="failed",le="+Inf"} 1`,
		"# TYPE parkd_rejections_total counter\n", "\nprocess_cpu_seconds_total ", "\nprocess_open_fds ", "\nprocess_max_fds ", "\ngo_goroutines ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := families["parkd_pool_used_units"].GetMetric()[0].GetLabel()[0].GetValue(); got != hostile {
		t.Errorf("the label reads %q, want %q", got, hostile)
	}
}
