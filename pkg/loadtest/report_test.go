package loadtest

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuantiles(t *testing.T) {
	l := newLatencies()
	if q := l.quantiles(); q != (Quantiles{}) {
		t.Errorf("of nothing: %+v", q)
	}
	for i := range 1000 {
		l.record(time.Duration(i+1) * time.Millisecond)
	}
	l.record(-time.Second)
	q := l.quantiles()
	near(t, "p50", q.P50, 500, 2)
	near(t, "p95", q.P95, 950, 4)
	near(t, "p99", q.P99, 990, 4)
	near(t, "max", q.Max, 1000, 2)
	bins := l.binned(0, 0.5, 99.5, 2000)
	if len(bins) != 4 || bins[0].Count != 1 || bins[1].Count != 99 || bins[3].To != 0 {
		t.Errorf("bins %+v", bins)
	}
	var all int64
	for _, b := range bins {
		all += b.Count
	}
	if all != 1001 {
		t.Errorf("%d in the bins", all)
	}
}

func TestStatCPU(t *testing.T) {
	line := "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 100 1 1"
	if got := statCPU([]byte(line)); got != 2*time.Second {
		t.Errorf("got %s, want 2s", got)
	}
	if got := statCPU([]byte("42 (a")); got != 0 {
		t.Errorf("of half a line: %s", got)
	}
}

func TestOwnCPUMoves(t *testing.T) {
	before := ownCPU()
	for x := 0; ownCPU() == before; x++ {
		if x > 1<<30 {
			t.Fatal("the processor time stands still")
		}
	}
}

func aReport(t *testing.T, n int) *Report {
	t.Helper()
	var r *Report
	synctest.Test(t, func(t *testing.T) { r = load(t, newFake(), Options{N: n}) })
	return r
}

func TestReportInJSON(t *testing.T) {
	b, err := json.Marshal(aReport(t, 200))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq("submitted accepted rejected completed failed expired overCapacityStarts maxUnitsInUse " +
		"submitPerSec tasksPerSec submitMs wakeMs wakeWithin1sRatio mailboxFoundRatio auditMs verdicts") {
		if got[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	var verdicts []map[string]any
	if err := json.Unmarshal(got["verdicts"], &verdicts); err != nil || len(verdicts) < 5 {
		t.Fatalf("verdicts %v, %v", verdicts, err)
	}
	for _, name := range []string{"promise", "value", "limit", "ok"} {
		if _, ok := verdicts[0][name]; !ok {
			t.Errorf("a verdict without %s", name)
		}
	}
}

func TestReportPage(t *testing.T) {
	r := aReport(t, 1000)
	r.Notes = append(r.Notes, `<script>alert("x")</script>`)
	r.Rejections["queue_full"] = 3
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if path := os.Getenv("PARKD_KEEP_REPORT"); path != "" {
		if err := r.writeFile(path); err != nil {
			t.Fatal(err)
		}
	}
	s := page.String()
	for _, want := range []string{"all guarantees kept", "starts over capacity", "Wake time", "Units in use", "Parked tasks", "queue_full", "&lt;script&gt;alert"} {
		if !strings.Contains(s, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if m := regexp.MustCompile(`(?i)(src|href)\s*=|url\(|@import|https?://`).FindString(s); m != "" {
		t.Errorf("the page loads something: %q", m)
	}
	if strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || strings.Contains(s, "ZgotmplZ") {
		t.Error("the page holds a number that is none")
	}
	for _, svg := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(s, -1) {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("a plot is not well formed: %v", err)
			}
		}
	}
}

func TestReportPageOfABrokenAndAnEmptyRun(t *testing.T) {
	for name, r := range map[string]*Report{
		"empty":  {},
		"broken": {Verdicts: []Verdict{{Promise: "p", Value: 1, Limit: 0}}, WakeMs: Quantiles{Count: 1, P50: 0.004, P95: 9, P99: 90_000, Max: 3.6e6}},
	} {
		var page bytes.Buffer
		if err := r.HTML(&page); err != nil {
			t.Fatal(err)
		}
		if s := page.String(); !strings.Contains(s, "guarantees broken") || strings.Contains(s, "NaN") || strings.Contains(s, "Inf") {
			t.Errorf("%s: not as it should be", name)
		}
	}
}

func TestAxis(t *testing.T) {
	for most, want := range map[float64]string{1: "0 0.5 1", 24: "0 10 20 30", 134: "0 50 100 150", 9500: "0 5000 10k", 0.3: "0 0.1 0.2 0.3"} {
		a := newAxis(most, 0, 100, 3, false)
		var labels []string
		for _, m := range a.Marks {
			labels = append(labels, m.Label)
		}
		if got := strings.Join(labels, " "); got != want {
			t.Errorf("axis to %g: %s, want %s", most, got, want)
		}
	}
}
