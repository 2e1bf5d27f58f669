package loadtest

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/pkg/park"
)

func TestReadTraceOfLanguageModelRequests(t *testing.T) {
	in := "TIMESTAMP,ContextTokens,GeneratedTokens\r\n" +
		"2023-11-16 18:15:46.6805900,374,44\r\n" +
		"2023-11-16 18:15:48.1805900,1000,100"
	got, err := ReadTrace("x.csv", strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	first := time.Duration((30 + 0.07*374 + 30*44) * float64(time.Millisecond))
	second := time.Duration((30 + 0.07*1000 + 30*100) * float64(time.Millisecond))
	want := &Trace{Name: "azure-llm", Units: 134, Jobs: []TraceJob{
		{Work: first, Slack: 3*first + 2*time.Second, Units: 1, Priority: park.High, Tenant: "azure", Key: "conversation-0"},
		{Arrival: 1500 * time.Millisecond, Work: second, Slack: 3*second + 2*time.Second, Units: 3, Tenant: "azure", Key: "conversation-1"},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestReadTraceOfGPUJobs(t *testing.T) {
	in := "job_id,submission_time,num_iteration,model_name,deadline,batch_size,num_gpu,duration\n" +
		"b,200,1,bert,900,64,8,300\n\n" +
		"a,100,1,vgg16,150,64,4,60.5\n"
	got, err := ReadTrace("x.csv", strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	want := &Trace{Name: "gpu-jobs", Units: 128, Jobs: []TraceJob{
		{Work: 60500 * time.Millisecond, Slack: 50 * time.Second, Units: 4, Tenant: "vgg16", Key: "training"},
		{Arrival: 100 * time.Second, Work: 300 * time.Second, Slack: 700 * time.Second, Units: 8, Tenant: "bert", Key: "training"},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestReadTraceOfBatchJobs(t *testing.T) {
	in := "; Computer: x\n; MaxProcs: 96\n" +
		"   11   1000     32  50   32  43307    -1   40  43200    -1  1   4   1  -1 -1  1 -1 -1\n" +
		"   12   1010     32  -1   32  43307    -1   32  43200    -1  1   4   1  -1 -1  1 -1 -1\n" +
		"   13   1020     5  553   -1 552.21    -1   1  43200    -1  1   -1   1  -1 -1  1 -1 -1\n"
	got, err := ReadTrace("x.swf", strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	want := &Trace{Name: "swf", Units: 96, Skipped: 1, Jobs: []TraceJob{
		{Work: 50 * time.Second, Units: 40, Tenant: "user-4", Key: "user-4"},
		{Arrival: 20 * time.Second, Work: 553 * time.Second, Units: 1, Tenant: "user--1", Key: "user--1"},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestReadTraceNamesTheFault(t *testing.T) {
	azure := "TIMESTAMP,ContextTokens,GeneratedTokens\n"
	gpu := "job_id,submission_time,model_name,deadline,num_gpu,duration\n"
	tests := map[string]struct{ in, want string }{
		"empty":           {"", "no jobs"},
		"only a header":   {azure, "no jobs"},
		"unknown":         {"hello\nworld\n", "f:1: not a trace of a known kind"},
		"binary":          {"\x00\x01\x02\xff", "f:1: not a trace"},
		"column missing":  {"TIMESTAMP,ContextTokens\n", "f:1: the header has no column GeneratedTokens"},
		"row too short":   {azure + "2023-11-16 18:15:46,374\n", "f:2: 2 columns, but the header has 3"},
		"no number":       {azure + "2023-11-16 18:15:46,374,x\n", `f:2: GeneratedTokens must be a number from 0 to 1e+07, not "x"`},
		"not a number":    {azure + "2023-11-16 18:15:46,NaN,1\n", "f:2: ContextTokens must be a number"},
		"no time":         {azure + "\n18:15:46,374,1\n", "f:3: TIMESTAMP must look like"},
		"time out of all": {azure + "9999-11-16 18:15:46,374,1\n", "f:2: TIMESTAMP must look like"},
		"no GPU":          {gpu + "a,1,bert,5,0,1\n", "f:2: num_gpu must be a number from 1"},
		"deadline before": {gpu + "a,10,bert,5,1,1\n", "f:2: deadline 5 is not after submission_time 10"},
		"model missing":   {gpu + "a,1,,5,1,1\n", "f:2: model_name must be"},
		"negative time":   {gpu + "a,-1,bert,5,1,1\n", "f:2: submission_time must be a number from 0"},
		"endless job":     {gpu + "a,1,bert,5,1,1e300\n", "f:2: duration must be a number"},
		"swf cut off":     {"; x\n1 2 3\n", "f:2: 3 fields, but a job has 18"},
		"swf no number":   {"; x\n" + strings.Repeat("x ", 18), `f:2: field 1 must be a number, not "x"`},
		"swf before time": {"; x\n1 -5 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", "f:2: field 2, the time of submission, is -5"},
		"swf all unknown": {"; x\n" + strings.Repeat("-1 ", 18), "f:2: field 2"},
		"line too long":   {azure + strings.Repeat("1", maxTraceLine+1), "f:2: bufio.Scanner: token too long"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ReadTrace("f", strings.NewReader(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// realTrace reads one of the recorded traces, which are not part of this project.
func realTrace(t *testing.T, file string) *Trace {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "traces", file)
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("the recorded traces are not here: %v", err)
	}
	defer f.Close()
	tr, err := ReadTrace(path, f)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// near checks a published figure, which is rounded to the given step.
func near(t *testing.T, what string, got, want, step float64) {
	t.Helper()
	if math.Abs(got-want) > 0.51*step {
		t.Errorf("%s is %g, published as %g", what, got, want)
	}
}

func TestRecordedLanguageModelRequests(t *testing.T) {
	tr := realTrace(t, "azure_llm_2023_conv.csv")
	var units, work float64
	var most int64
	for _, j := range tr.Jobs {
		units += float64(j.Units)
		work += j.Work.Seconds()
		most = max(most, j.Units)
	}
	n := float64(len(tr.Jobs))
	span := tr.Jobs[len(tr.Jobs)-1].Arrival
	near(t, "requests", n, 19366, 0)
	near(t, "mean units", units/n, 3.08, 0.01)
	near(t, "most units", float64(most), 28, 0)
	near(t, "mean service, s", work/n, 6.44, 0.01)
	near(t, "span, min", span.Minutes(), 58.4, 0.1)
	near(t, "requests per second", n/span.Seconds(), 5.53, 0.01)
}

func TestRecordedGPUJobs(t *testing.T) {
	tr := realTrace(t, "msitp_cluster06.csv")
	count := map[int64]int{}
	var work, most float64
	for _, j := range tr.Jobs {
		count[j.Units]++
		work += j.Work.Seconds()
		most = max(most, j.Work.Seconds())
	}
	n := float64(len(tr.Jobs))
	near(t, "jobs", n, 2396, 0)
	near(t, "mean duration, s", work/n, 24434, 1)
	near(t, "longest, s", most, 899735, 0)
	near(t, "span, days", tr.Jobs[len(tr.Jobs)-1].Arrival.Hours()/24, 59.6, 0.1)
	if d := cmp.Diff(map[int64]int{1: 1073, 2: 6, 4: 148, 8: 1082, 16: 59, 32: 20, 64: 8}, count); d != "" {
		t.Errorf("jobs by GPUs (-published +got):\n%s", d)
	}
}

func TestRecordedBatchJobs(t *testing.T) {
	tr := realTrace(t, "hpc2n_2002_first10000.swf")
	users := map[string]bool{}
	var work, units float64
	var most int64
	for _, j := range tr.Jobs {
		users[j.Tenant] = true
		work += j.Work.Seconds()
		units += float64(j.Units)
		most = max(most, j.Units)
	}
	n := float64(len(tr.Jobs))
	near(t, "jobs", n, 10000, 0)
	near(t, "mean run, s", work/n, 13071, 1)
	near(t, "mean processors", units/n, 14, 1)
	near(t, "most processors", float64(most), 200, 0)
	near(t, "users", float64(len(users)), 39, 0)
	near(t, "machine", float64(tr.Units), 240, 0)
	near(t, "span, days", tr.Jobs[len(tr.Jobs)-1].Arrival.Hours()/24, 141, 1)
}

func TestTraceAtSpeed(t *testing.T) {
	o := Options{Speed: 10, N: 2}
	tr := &Trace{Name: "x", Units: 7, Jobs: []TraceJob{
		{Work: 20 * time.Millisecond, Units: 1, Tenant: "a", Key: "k"},
		{Arrival: 5 * time.Second, Work: 3 * time.Second, Slack: time.Minute, Units: 2, Tenant: "a", Key: "k"},
		{Arrival: 9 * time.Second, Work: time.Hour, Units: 2},
	}}
	w := o.replayed(tr)
	if w.size != 2 || !w.open || w.units != 7 || w.work != 300*time.Millisecond {
		t.Errorf("size %d, open %t, units %d, longest %s", w.size, w.open, w.units, w.work)
	}
	want := job{arrival: 500 * time.Millisecond, units: 2, tenant: "a", key: "k", work: 300 * time.Millisecond, slack: 6 * time.Second}
	if got := w.next(1); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := w.next(0).work; got != 2*time.Millisecond {
		t.Errorf("work %s, want 2ms", got)
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add("TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44")
	f.Add("job_id,submission_time,num_iteration,model_name,deadline,batch_size,num_gpu,duration\nb,2,1,bert,9,6,8,3")
	f.Add("; MaxProcs: 2\n11 342072 32 43306 32 43307 -1 32 43200 -1 1 4 1 -1 -1 1 -1 -1")
	f.Fuzz(func(t *testing.T, in string) {
		tr, err := ReadTrace("f", strings.NewReader(in))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("the error names no file: %v", err)
			}
			return
		}
		o := Options{Speed: 1}
		w := o.replayed(tr)
		for i := range w.size {
			j := w.next(i)
			s := j.submission("lt-", i, time.Now())
			if j.arrival < 0 || j.work <= 0 || j.slack < 0 || j.units < 1 {
				t.Fatalf("job %+v", j)
			}
			if err := s.Normalize(); err != nil {
				t.Fatal(fmt.Errorf("job %+v: %w", j, err))
			}
		}
	})
}
