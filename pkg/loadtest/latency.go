package loadtest

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Quantiles are a distribution of times, in milliseconds.
type Quantiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// latencies is a histogram of times from a microsecond to an hour, with three digits. It may be used by several
// goroutines.
type latencies struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

const longestLatency = time.Hour

func newLatencies() *latencies {
	return &latencies{h: hdrhistogram.New(1, longestLatency.Microseconds(), 3)}
}

func (l *latencies) record(d time.Duration) {
	us := min(max(d.Microseconds(), 0), longestLatency.Microseconds())
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.h.RecordValue(us) // it is in range
}

func (l *latencies) quantiles() Quantiles {
	l.mu.Lock()
	defer l.mu.Unlock()
	ms := func(us int64) float64 { return float64(us) / 1000 }
	q := Quantiles{Count: l.h.TotalCount()}
	if q.Count == 0 {
		return q
	}
	q.P50, q.P95, q.P99 = ms(l.h.ValueAtQuantile(50)), ms(l.h.ValueAtQuantile(95)), ms(l.h.ValueAtQuantile(99))
	q.Max = ms(l.h.Max())
	// The histogram rounds a value up to its bucket's end, the maximum too, but not by the same amount.
	q.P50, q.P95, q.P99 = min(q.P50, q.Max), min(q.P95, q.Max), min(q.P99, q.Max)
	return q
}

// Bin counts the times from From up to To milliseconds. To is 0 in the last bin, which has no end.
type Bin struct {
	From  float64 `json:"from"`
	To    float64 `json:"to,omitempty"`
	Count int64   `json:"count"`
}

// binned counts what was recorded between the edges, which are milliseconds, rising from 0.
func (l *latencies) binned(edges ...float64) []Bin {
	bins := make([]Bin, len(edges))
	for i := range bins {
		bins[i].From = edges[i]
		if i+1 < len(edges) {
			bins[i].To = edges[i+1]
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := 0
	for _, bar := range l.h.Distribution() {
		for i+1 < len(bins) && float64(bar.From)/1000 >= bins[i].To {
			i++
		}
		bins[i].Count += bar.Count
	}
	return bins
}
