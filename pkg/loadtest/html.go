package loadtest

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"path/filepath"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
)

//go:embed report.html.tmpl
var reportTemplate string

// page is the data of the report's page.
type page struct {
	*Report
	Kept          bool
	Load          string
	Facts         []fact
	Units, Parked timePlot
	Wakes         barPlot
	Strips        []strip
	StripMarks    []mark
	StripsHeight  float64
	Rows          []verdictRow
	W, H          float64
}

type fact struct{ Name, Value string }

type verdictRow struct {
	Verdict
	Value, Limit string
}

// HTML writes the report as one self-contained page.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{"ms": millisText, "add": func(a, b float64) float64 { return a + b }}).Parse(reportTemplate)
	if err != nil {
		return fmt.Errorf("read the report's template: %w", err)
	}
	if err := t.Execute(w, r.page()); err != nil {
		return fmt.Errorf("write the report's page: %w", err)
	}
	return nil
}

func (r *Report) page() page {
	p := page{
		Report: r, Kept: r.OK(), Load: r.load(), Facts: r.facts(), W: plotWidth, H: plotHeight,
		Units: overTime("Units in use", "units", r.Timeline,
			func(s *replay.Sample) int64 { return s.MaxUsed }, func(s *replay.Sample) int64 { return s.MaxUnits }),
		Parked: overTime("Parked tasks", "tasks", r.Timeline, func(s *replay.Sample) int64 { return int64(s.MaxQueued) }, nil),
		Wakes:  histogram(r.WakeBins, wakeLimit.Seconds()*1000),
	}
	p.Strips, p.StripMarks = stripsOf([]strip{
		{Name: "Submit", Note: "until the answer", Q: r.SubmitMs},
		{Name: "Wake", Note: "measured by the client", Q: r.WakeMs},
		{Name: "Wake in the log", Note: "from step to step", Q: r.WakeAuditMs},
		{Name: "Audit query", Note: "over 24 h", Q: r.AuditMs},
	})
	p.StripsHeight = 30 + stripHeight*float64(len(p.Strips))
	for _, v := range r.Verdicts {
		p.Rows = append(p.Rows, verdictRow{v, v.text(v.Value), v.side() + v.text(v.Limit)})
	}
	return p
}

// side returns on which side of its limit the value belongs.
func (v Verdict) side() string {
	if v.AtLeast {
		return "≥ "
	}
	return "≤ "
}

// text formats one of the verdict's numbers: a share in per cent, rounded down so that 100 % means all.
func (v Verdict) text(x float64) string {
	if v.AtLeast {
		return strconv.FormatFloat(math.Floor(x*10_000)/100, 'f', -1, 64) + " %"
	}
	return strconv.FormatFloat(x, 'g', 6, 64)
}

// load describes the load in a sentence.
func (r *Report) load() string {
	s := fmt.Sprintf("%d tasks of the mixed load from %d clients in a closed loop", r.Submitted, r.Concurrency)
	switch {
	case r.Trace != "":
		s = fmt.Sprintf("%d tasks of %s (%s) at %g times its original speed", r.Submitted, filepath.Base(r.Trace), r.Workload, r.Speed)
	case r.Rate > 0:
		s = fmt.Sprintf("%d tasks of the mixed load, arriving at %g per second", r.Submitted, r.Rate)
	case r.Batch > 1:
		s += fmt.Sprintf(" in batches of %d", r.Batch)
	}
	s += fmt.Sprintf("; pool %s of %d units", r.Pool, r.MaxUnits)
	if r.Backend != "" {
		s += ", backend " + r.Backend
	}
	if r.Restarts > 0 {
		s += "; the daemon was killed and restarted midway"
	}
	return s
}

func (r *Report) facts() []fact {
	n := func(name string, v int) fact { return fact{name, strconv.Itoa(v)} }
	f := []fact{
		{"Tasks per second", fmt.Sprintf("%.0f", r.TasksPerSec)},
		{"Submissions per second", fmt.Sprintf("%.0f", r.SubmitPerSec)},
		{"Wake p99", millisText(r.WakeMs.P99)},
		{"Maximum units in use", fmt.Sprintf("%d of %d", r.MaxUnitsInUse, r.MaxUnits)},
		{"Mean units in use", fmt.Sprintf("%.1f", r.MeanUnitsInUse)},
		n("Maximum parked", r.MaxParked),
		n("Accepted", r.Accepted), n("Rejected", r.Rejected), n("Completed", r.Completed),
		n("Failed (simulated)", r.Failed), n("Expired", r.Expired), n("Requeued", r.Requeued),
	}
	if r.DaemonCPUSecs > 0 {
		f = append(f, fact{"CPU time", fmt.Sprintf("daemon %.1f s, generator %.1f s (%.0f %%)", r.DaemonCPUSecs, r.GeneratorCPUSecs, 100*r.GeneratorCPUShare)})
	}
	return append(f, fact{"Duration", fmt.Sprintf("%.1f s submitting, %.1f s in total", r.SubmitSecs, r.DrainSecs)})
}
