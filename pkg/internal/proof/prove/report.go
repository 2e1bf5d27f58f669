package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

//go:embed reliability.md.tmpl
var page string

// row is one count of one campaign in the report.
type row struct {
	Campaign string
	What     string
	Asked    string
	Done     string
	Broken   string
	Seconds  string
	Proven   string // of the campaign, in its first row
}

type facts struct {
	Machine string
	Date    string
	Form    string
	Rows    []row
	Also    []string // further counts
	Seeds   []string
	Skipped []string
	Notes   []string
	Lacking []string // why something is not proven
	Broken  int
	Minutes string
}

// report writes the page from the log.
func report(o *options, all []campaign) error {
	lines, err := read(o.log)
	if err != nil {
		return err
	}
	b, err := render(lines, o.form, all)
	if err != nil {
		return err
	}
	return os.WriteFile(o.report, b, 0o644) //nolint:gosec // a page of the documentation
}

// read returns the lines of a log; none if it does not exist.
func read(log string) ([]proof.Line, error) {
	f, err := os.Open(log)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lines, err := proof.Read(f)
	return lines, errors.Join(err, f.Close())
}

// render makes the page from the lines; all campaigns of the form should be in it.
func render(lines []proof.Line, form string, all []campaign) ([]byte, error) {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return nil, err
	}
	if len(lines) > 0 {
		form = lines[len(lines)-1].Form
	}
	fs := factsOf(lines)
	fs.Form, fs.Machine = form, machine()
	fs.addAbsent(lines, all)
	var b bytes.Buffer
	err = t.Execute(&b, fs)
	return b.Bytes(), err
}

// addAbsent adds the campaigns without a line.
func (fs *facts) addAbsent(lines []proof.Line, all []campaign) {
	for _, c := range all {
		for _, name := range c.lines {
			if c.inForm(fs.Form) && !slices.ContainsFunc(lines, func(l proof.Line) bool { return l.Campaign == name }) {
				fs.Rows = append(fs.Rows, row{Campaign: name, Proven: didNotRun})
				fs.Lacking = append(fs.Lacking, name+" did not run")
			}
		}
	}
}

func factsOf(lines []proof.Line) facts {
	var fs facts
	var seconds float64
	for _, l := range merge(lines) {
		seconds += l.Seconds
		fs.Broken += l.Broken
		fs.Date = max(fs.Date, l.At)
		if l.Skipped != "" {
			fs.Skipped = append(fs.Skipped, fmt.Sprintf("`%s`: %s", l.Campaign, l.Skipped))
		} else {
			fs.Lacking = append(fs.Lacking, shortfall(&l)...)
		}
		if len(l.Seeds) > 0 {
			fs.Seeds = append(fs.Seeds, fmt.Sprintf("`%s` %s", l.Campaign, strings.Join(l.Seeds, ", ")))
		}
		for _, n := range l.Notes {
			fs.Notes = append(fs.Notes, fmt.Sprintf("`%s`: %s", l.Campaign, n))
		}
		fs.Rows = append(fs.Rows, rows(&l)...)
		if also := besides(&l); also != "" {
			fs.Also = append(fs.Also, fmt.Sprintf("`%s`: %s", l.Campaign, also))
		}
	}
	fs.Minutes = fmt.Sprintf("%.0f", seconds/60)
	return fs
}

// merge adds up the lines of each campaign, in the order of their first lines.
func merge(lines []proof.Line) (merged []proof.Line) {
	for _, l := range lines {
		i := slices.IndexFunc(merged, func(m proof.Line) bool { return m.Campaign == l.Campaign })
		if i < 0 {
			merged = append(merged, l)
			continue
		}
		m := &merged[i]
		m.Counts, m.Targets = sum(m.Counts, l.Counts), sum(m.Targets, l.Targets)
		m.Broken, m.Seconds, m.At, m.Form = m.Broken+l.Broken, m.Seconds+l.Seconds, max(m.At, l.At), l.Form
		m.Seeds, m.Notes = append(m.Seeds, l.Seeds...), append(m.Notes, l.Notes...)
		m.Interrupted = m.Interrupted || l.Interrupted
		if m.Skipped == "" || l.Skipped == "" {
			m.Skipped = "" // it ran once, and its counts show what is missing
		}
	}
	return merged
}

func sum(a, b map[string]int64) map[string]int64 {
	if a == nil {
		return b
	}
	for what, n := range b {
		a[what] += n
	}
	return a
}

// The verdicts in the report.
const (
	proven     = "yes"
	lessDone   = "**less was done**"
	isBroken   = "**no**"
	didNotRun  = "**did not run**"
	impossible = "not here"
)

func verdict(l *proof.Line) string {
	switch {
	case l.Broken > 0:
		return isBroken
	case l.Skipped != "":
		return impossible
	case len(shortfall(l)) > 0:
		return lessDone
	}
	return proven
}

// rows returns a row for each target.
func rows(l *proof.Line) (all []row) {
	for _, what := range sorted(l.Targets) {
		r := row{What: what, Asked: thousands(l.Targets[what]), Done: thousands(l.Counts[what])}
		if l.Skipped != "" {
			r.Done = impossible
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		all = make([]row, 1)
	}
	first := &all[0]
	first.Broken, first.Seconds, first.Proven = thousands(int64(l.Broken)), fmt.Sprintf("%.0f", l.Seconds), verdict(l)
	for i := range all {
		all[i].Campaign = l.Campaign
	}
	return all
}

func besides(l *proof.Line) string {
	var all []string
	for _, what := range sorted(l.Counts) {
		if _, asked := l.Targets[what]; !asked && l.Counts[what] != 0 {
			all = append(all, thousands(l.Counts[what])+" "+what)
		}
	}
	return strings.Join(all, ", ")
}

func sorted(m map[string]int64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func machine() string {
	kind := runtime.GOOS + "/" + runtime.GOARCH
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kind += ", Linux " + strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%s, %d cores, %s", kind, runtime.NumCPU(), runtime.Version())
}
