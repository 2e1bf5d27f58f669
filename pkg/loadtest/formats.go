package loadtest

// The three formats of ReadTrace.

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// azure reads requests to a language model. They have no recorded duration; a model of one (70 billion
// parameters on 8 GPUs) stands in: 30 ms, and 0.07 ms for each token read and 30 ms for each token written.
// A unit is a block of 512 tokens of cache. Short prompts are interactive and go first.
type azure struct {
	columns
	n int
}

const (
	azureUnits      = 134 // on the edge: the waits are short but not zero
	azureBlock      = 512
	azureShort      = 512
	azureMailboxes  = 16
	azureMostTokens = 1e7
)

func newAzure(header []string) (*azure, error) {
	c, err := newColumns(header, "TIMESTAMP", "ContextTokens", "GeneratedTokens")
	return &azure{columns: c}, err
}

func (a *azure) line(s string) (TraceJob, time.Duration, bool, error) {
	r := a.row(s)
	read := r.number("ContextTokens", 0, azureMostTokens)
	written := r.number("GeneratedTokens", 0, azureMostTokens)
	if r.err != nil {
		return TraceJob{}, 0, false, r.err
	}
	at, err := time.Parse(time.DateTime, r.text("TIMESTAMP"))
	if err != nil || at.Year() < 1970 || at.Year() > 2200 {
		return TraceJob{}, 0, false, fmt.Errorf("TIMESTAMP must look like 2023-11-16 18:15:46.6805900, not %q", r.text("TIMESTAMP"))
	}
	j := TraceJob{
		Work:   seconds((30 + 0.07*read + 30*written) / 1000),
		Units:  max(1, int64(math.Ceil((read+written)/azureBlock))),
		Tenant: "azure",
		Key:    "conversation-" + strconv.Itoa(a.n%azureMailboxes),
	}
	if read <= azureShort {
		j.Priority = park.High
	}
	j.Slack = 3*j.Work + 2*time.Second
	a.n++
	return j, time.Duration(at.UnixNano()), true, nil
}

func (a *azure) trace() Trace { return Trace{Name: "azure-llm", Units: azureUnits} }

// gpuJobs reads training jobs: units are GPUs, the deadline is the recorded one.
type gpuJobs struct{ columns }

const (
	gpuUnits = 128 // the mean demand of the recorded cluster is 87
	mostGPUs = 1e6
)

func newGPUJobs(header []string) (*gpuJobs, error) {
	c, err := newColumns(header, "job_id", "submission_time", "deadline", "num_gpu", "duration", "model_name")
	return &gpuJobs{c}, err
}

func (g *gpuJobs) line(s string) (TraceJob, time.Duration, bool, error) {
	r := g.row(s)
	at, deadline := r.seconds("submission_time"), r.seconds("deadline")
	j := TraceJob{
		Work:   r.seconds("duration"),
		Units:  int64(r.number("num_gpu", 1, mostGPUs)),
		Tenant: r.text("model_name"),
		Key:    "training",
	}
	if r.err == nil && park.CheckName("model_name", j.Tenant) != nil {
		r.err = fmt.Errorf("model_name must be printable text, not %q", j.Tenant)
	}
	if r.err == nil && deadline <= at {
		r.err = fmt.Errorf("deadline %s is not after submission_time %s", r.text("deadline"), r.text("submission_time"))
	}
	j.Slack = deadline - at
	return j, at, r.err == nil, r.err
}

func (g *gpuJobs) trace() Trace { return Trace{Name: "gpu-jobs", Units: gpuUnits} }

// swf reads the Standard Workload Format: 18 numbers a line, -1 where a value is not known, comments after ";".
// Units are processors.
type swf struct{ units int64 }

const (
	swfFields    = 18
	swfUnits     = 240
	swfSubmit    = 1
	swfRun       = 3
	swfAllocated = 4
	swfRequested = 7
	swfUser      = 11
	mostProcs    = 1e7
)

func (w *swf) line(s string) (TraceJob, time.Duration, bool, error) {
	if s[0] == ';' {
		w.header(s)
		return TraceJob{}, 0, false, nil
	}
	fields := strings.Fields(s)
	if len(fields) != swfFields {
		return TraceJob{}, 0, false, fmt.Errorf("%d fields, but a job has %d", len(fields), swfFields)
	}
	var v [swfFields]float64
	for i, f := range fields {
		x, err := strconv.ParseFloat(f, 64)
		if err != nil || math.IsNaN(x) || math.Abs(x) > longest.Seconds() {
			return TraceJob{}, 0, false, fmt.Errorf("field %d must be a number, not %q", i+1, f)
		}
		v[i] = x
	}
	procs := max(v[swfAllocated], v[swfRequested])
	switch {
	case v[swfSubmit] < 0:
		return TraceJob{}, 0, false, fmt.Errorf("field %d, the time of submission, is %g", swfSubmit+1, v[swfSubmit])
	case procs > mostProcs:
		return TraceJob{}, 0, false, fmt.Errorf("%g processors are more than %g", procs, mostProcs)
	case v[swfRun] <= 0 || procs < 1:
		return TraceJob{}, 0, false, nil
	}
	user := "user-" + strconv.FormatInt(int64(v[swfUser]), 10)
	return TraceJob{Work: seconds(v[swfRun]), Units: int64(procs), Tenant: user, Key: user}, seconds(v[swfSubmit]), true, nil
}

// header takes the size of the machine.
func (w *swf) header(s string) {
	name, value, _ := strings.Cut(strings.TrimLeft(s, "; "), ":")
	if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); strings.TrimSpace(name) == "MaxProcs" && err == nil && n > 0 && n <= mostProcs {
		w.units = n
	}
}

func (w *swf) trace() Trace { return Trace{Name: "swf", Units: w.units} }
