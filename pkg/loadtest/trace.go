package loadtest

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Trace is a recorded load.
type Trace struct {
	Name    string // of the format
	Units   int64  // a capacity that suits it
	Jobs    []TraceJob
	Skipped int // lines that name no work, such as jobs that never ran
}

// TraceJob is one recorded piece of work. Times are those of the record.
type TraceJob struct {
	Arrival  time.Duration // since the first job
	Work     time.Duration
	Slack    time.Duration // the deadline is so long after the arrival; 0: none
	Units    int64
	Priority park.Priority
	Tenant   string
	Key      string // of the mailbox
}

// traceFormat reads the lines of one kind of file.
type traceFormat interface {
	// line reads a line that is neither empty nor the header. ok is false for a line that holds no job.
	line(s string) (j TraceJob, at time.Duration, ok bool, err error)
	trace() Trace
}

// maxTraceLine bounds a line, so that a file of another kind is refused before it fills the memory.
const maxTraceLine = 1 << 20

// longest bounds a time in a trace, so that sums of times cannot wrap.
const longest = 100 * 365 * 24 * time.Hour

// ReadTrace reads a recorded load. It knows three kinds of file by their contents: requests to a language model
// (the columns TIMESTAMP,ContextTokens,GeneratedTokens of the Azure traces), training jobs with deadlines (the
// columns job_id,submission_time,deadline,num_gpu,duration of the ElasticFlow traces), and the Standard Workload
// Format of batch systems. Jobs come in the order of arrival. An error names file and line.
func ReadTrace(name string, r io.Reader) (*Trace, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxTraceLine)
	var format traceFormat
	var t Trace
	var arrivals []time.Duration
	n := 0
	for lines.Scan() {
		n++
		s := strings.TrimSpace(string(bytes.TrimPrefix(lines.Bytes(), []byte("\xef\xbb\xbf"))))
		if s == "" {
			continue
		}
		if format == nil {
			var header bool
			var err error
			if format, header, err = detect(s); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, err)
			}
			if header {
				continue
			}
		}
		j, at, ok, err := format.line(s)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		case ok:
			t.Jobs, arrivals = append(t.Jobs, j), append(arrivals, at)
		case s[0] != ';':
			t.Skipped++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, n+1, err)
	}
	if len(t.Jobs) == 0 {
		return nil, fmt.Errorf("%s: no jobs in it", name)
	}
	t.settle(format, arrivals)
	return &t, nil
}

// settle sets the arrivals, counted from the first, and brings the jobs into their order.
func (t *Trace) settle(f traceFormat, arrivals []time.Duration) {
	whole := f.trace()
	t.Name, t.Units = whole.Name, whole.Units
	first := slices.Min(arrivals)
	for i := range t.Jobs {
		t.Jobs[i].Arrival = arrivals[i] - first
	}
	slices.SortStableFunc(t.Jobs, func(a, b TraceJob) int { return cmp.Compare(a.Arrival, b.Arrival) })
}

// detect finds the format by the first line that is not empty, and says whether that line is only a header.
func detect(s string) (f traceFormat, header bool, err error) {
	names := strings.Split(s, ",")
	switch {
	case slices.Contains(names, "ContextTokens"):
		f, err = newAzure(names)
		return f, true, err
	case slices.Contains(names, "num_gpu"):
		f, err = newGPUJobs(names)
		return f, true, err
	case s[0] == ';', len(strings.Fields(s)) == swfFields:
		return &swf{units: swfUnits}, false, nil
	}
	return nil, false, errors.New("not a trace of a known kind: the first line must be the header of an Azure LLM trace " +
		"(TIMESTAMP,ContextTokens,GeneratedTokens) or of an ElasticFlow trace (job_id,submission_time,…,num_gpu,duration), " +
		"or the file must be in the Standard Workload Format (18 numbers a line, comments after ;)")
}

// columns are the places of named columns in a line of values that commas divide.
type columns struct {
	count int
	at    map[string]int
}

func newColumns(header []string, want ...string) (columns, error) {
	c := columns{count: len(header), at: map[string]int{}}
	for i, name := range header {
		c.at[strings.TrimSpace(name)] = i
	}
	for _, name := range want {
		if _, ok := c.at[name]; !ok {
			return c, fmt.Errorf("the header has no column %s", name)
		}
	}
	return c, nil
}

// row is one line, taken apart. The first value that cannot be read is its error.
type row struct {
	columns
	values []string
	err    error
}

func (c columns) row(s string) row {
	r := row{columns: c, values: strings.Split(s, ",")}
	if len(r.values) != c.count {
		r.err = fmt.Errorf("%d columns, but the header has %d", len(r.values), c.count)
		r.values = make([]string, c.count)
	}
	return r
}

func (r *row) text(name string) string { return strings.TrimSpace(r.values[r.at[name]]) }

// number reads a number from least to most.
func (r *row) number(name string, least, most float64) float64 {
	v, err := strconv.ParseFloat(r.text(name), 64)
	if r.err == nil && (err != nil || !(v >= least && v <= most)) {
		r.err = fmt.Errorf("%s must be a number from %g to %g, not %q", name, least, most, r.text(name))
	}
	return v
}

func (r *row) seconds(name string) time.Duration {
	return seconds(r.number(name, 0, longest.Seconds()))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
