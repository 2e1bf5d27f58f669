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

// family is a metric that is counted as things happen, with a series for each combination of label values. All metrics
// are in docs/operations.md.
type family struct {
	name, help string
	labels     []string
	buckets    []float64 // upper bounds of a histogram; nil for a counter
	series     *metrics.Set
}

func counter(name, help string, labels ...string) *family {
	return &family{name: name, help: help, labels: labels, series: metrics.NewSet()}
}

func histogram(buckets []float64, name, help string, labels ...string) *family {
	return &family{name: name, help: help, labels: labels, buckets: buckets, series: metrics.NewSet()}
}

// buckets returns n upper bounds: start, start×factor, start×factor², ...
func buckets(start, factor float64, n int) []float64 {
	return metrics.ExponentialBuckets(start, factor, n)
}

// add counts n more for the given label values, in the order of the family's labels.
func (f *family) add(n int, values ...string) { f.series.GetOrCreateCounter(f.of(values)).Add(n) }

func (f *family) observe(v float64, values ...string) {
	f.series.GetOrCreatePrometheusHistogramExt(f.of(values), f.buckets).Update(v)
}

func (f *family) of(values []string) string {
	b := append(make([]byte, 0, 128), f.name...)
	for i, label := range f.labels {
		b = appendLabel(b, i, label, values[i])
	}
	return string(append(b, '}'))
}

// appendLabel writes label number i of a series, with the escapes of the text format.
func appendLabel(b []byte, i int, label, value string) []byte {
	if strings.ContainsAny(value, "\\\"\n") {
		value = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
	}
	b = append(b, "{,"[min(i, 1)])
	b = append(b, label...)
	b = append(b, `="`...)
	b = append(b, value...)
	return append(b, '"')
}

// gauge sets the present value of a metric. labels are names and values in turn.
type gauge func(name, help string, value float64, labels ...string)

func boolValue(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// exposition answers GET /metrics in the text format of Prometheus,
// https://prometheus.io/docs/instrumenting/exposition_formats. The library writes the series, and has no help texts.
type exposition struct {
	families []*family
	gauges   []func(gauge) // each sets gauges as they are at the time of the request
}

// block is the text of one metric.
type block struct {
	help, kind string
	series     bytes.Buffer
}

func (e *exposition) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	blocks := make(map[string]*block)
	of := func(name, help, kind string) *bytes.Buffer {
		if blocks[name] == nil {
			blocks[name] = &block{help: help, kind: kind}
		}
		return &blocks[name].series
	}
	for _, f := range e.families {
		kind := "counter"
		if f.buckets != nil {
			kind = "histogram"
		}
		f.series.WritePrometheus(of(f.name, f.help, kind))
	}
	for _, read := range e.gauges {
		read(func(name, help string, v float64, labels ...string) {
			b := []byte(name)
			for i := 0; i < len(labels); i += 2 {
				b = appendLabel(b, i, labels[i], labels[i+1])
			}
			kind := "gauge"
			if strings.HasSuffix(name, "_total") {
				kind = "counter"
			}
			fmt.Fprintf(of(name, help, kind), "%s} %s\n", b, strconv.FormatFloat(v, 'f', -1, 64))
		})
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for _, name := range slices.Sorted(maps.Keys(blocks)) {
		if b := blocks[name]; b.series.Len() > 0 {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, b.help, name, b.kind)
			_, _ = b.series.WriteTo(w)
		}
	}
	metrics.WriteProcessMetrics(w)
	metrics.WriteFDMetrics(w)
}
