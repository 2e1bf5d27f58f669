package daemon

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// family counts one metric, with a series for each combination of label values.
type family struct {
	metric  metric
	buckets []float64 // upper bounds of a histogram
	series  *metrics.Set
}

func (m metric) counter() *family {
	return &family{metric: m, series: metrics.NewSet()}
}

// histogram has n buckets with the upper bounds start, start×factor, start×factor², ...
func (m metric) histogram(start, factor float64, n int) *family {
	return &family{metric: m, series: metrics.NewSet(), buckets: metrics.ExponentialBuckets(start, factor, n)}
}

func (f *family) add(n int, labels ...string) {
	f.series.GetOrCreateCounter(f.metric.with(labels)).Add(n)
}

func (f *family) observe(v float64, labels ...string) {
	f.series.GetOrCreatePrometheusHistogramExt(f.metric.with(labels), f.buckets).Update(v)
}

// with names a series by the values of its labels, in the order in which [metric.describe] lists them.
func (m metric) with(values []string) string {
	_, names := m.describe()
	b := append(make([]byte, 0, 128), m...)
	for i, name := range names {
		b = append(b, "{,"[min(i, 1)])
		b = append(b, name...)
		b = append(b, '=', '"')
		b = append(b, labelEscapes(values[i])...)
		b = append(b, '"')
	}
	return string(append(b, '}'))
}

// labelEscapes returns a label's value with the escapes of the text format.
func labelEscapes(value string) string {
	if !strings.ContainsAny(value, "\\\"\n") {
		return value
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
}

// gauge sets the present value of a series.
type gauge func(m metric, v float64, labels ...string)

// exposition answers GET /metrics in the text format of Prometheus,
// https://prometheus.io/docs/instrumenting/exposition_formats. The library writes the series, and has no help texts.
type exposition struct {
	families []*family
	gauges   []func(gauge) // each sets gauges as they are at the time of the request
}

func (e *exposition) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	series := make(map[metric]*bytes.Buffer)
	of := func(m metric) *bytes.Buffer {
		if series[m] == nil {
			series[m] = new(bytes.Buffer)
		}
		return series[m]
	}
	for _, f := range e.families {
		f.series.WritePrometheus(of(f.metric))
	}
	for _, read := range e.gauges {
		read(func(m metric, v float64, labels ...string) {
			fmt.Fprintf(of(m), "%s %s\n", m.with(labels), strconv.FormatFloat(v, 'f', -1, 64))
		})
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for _, m := range slices.Sorted(maps.Keys(series)) {
		if series[m].Len() == 0 {
			continue
		}
		help, _ := m.describe()
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", m, help, m, m.kind())
		_, _ = series[m].WriteTo(w)
	}
	metrics.WriteProcessMetrics(w)
}
