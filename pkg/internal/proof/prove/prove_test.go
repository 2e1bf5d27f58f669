package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

// weather are campaigns for tests of the report.
func weather() []campaign {
	return []campaign{{name: "water", lines: []string{"storm", "flood", "calm"}}, {name: "heat", lines: []string{"drought"}, fuzz: true}}
}

func TestReport(t *testing.T) {
	page, err := render([]proof.Line{
		{Campaign: "storm", Form: "long", Counts: map[string]int64{"kills": 1999, "tasks": 7}, Targets: map[string]int64{"kills": 2000}, Seconds: 61, Seeds: []string{"7"}},
		{Campaign: "flood", Form: "long", Targets: map[string]int64{"waves": 3}, Skipped: "no water"},
		{Campaign: "rain", Form: "long", Targets: map[string]int64{"drops": 2}, Counts: map[string]int64{"drops": 2}},
		{Campaign: "snow", Form: "long", Targets: map[string]int64{"flakes": 2, "inches": 1}, Counts: map[string]int64{"flakes": 1}, Interrupted: true, Notes: []string{"cold"}},
		{Campaign: "storm", Form: "long", Counts: map[string]int64{"kills": 1}, Broken: 2},
	}, "ci", weather())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| storm | kills | 2,000 | 2,000 | 2 | 61 | **no** |", "| flood | waves | 3 | not here | 0 | 0 | not here |", "| rain | drops | 2 | 2 | 0 | 0 | yes |",
		"| snow | flakes | 2 | 1 | 0 | 0 | **less was done** |", "| snow | inches | 1 | 0 |  |  |  |", "| calm |  |  |  |  |  | **did not run** |", "| drought |",
		"**Guarantees broken: 2.**\n\n**Not everything was done:**\n\n", "- storm broke 2 promises\n", "- snow was interrupted\n", "- snow did 1 of 2 flakes\n", "- calm did not run\n",
		"- `flood`: no water", "- `storm`: 7 tasks", "- `storm` 7", "- `snow`: cold", "long form, 1 minutes",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the report lacks %q:\n%s", want, page)
		}
	}
}

// TestReportOfAll: where all was done the report says so, and of the short form it does not miss what only the long one does.
func TestReportOfAll(t *testing.T) {
	one := map[string]int64{"waves": 1}
	var lines []proof.Line
	for _, name := range []string{"storm", "flood", "calm"} {
		lines = append(lines, proof.Line{Campaign: name, Form: "ci", Targets: one, Counts: one})
	}
	page, err := render(lines, "ci", weather())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "**Guarantees broken: 0.** All campaigns did what was asked.\n\n") || strings.Contains(string(page), "drought") {
		t.Errorf("got\n%s", page)
	}
	if page, err = render(nil, "ci", weather()); err != nil || strings.Count(string(page), "did not run**") != 3 {
		t.Errorf("of nothing: %v\n%s", err, page)
	}
}

// TestLacking: a campaign proves nothing unless it says that it did all that was asked of it.
func TestLacking(t *testing.T) {
	two, one := map[string]int64{"waves": 2}, map[string]int64{"waves": 1}
	c := campaign{lines: []string{"storm"}}
	for want, l := range map[string]proof.Line{
		"":                                {Targets: two, Counts: two},
		"storm did 1 of 2 waves":          {Targets: two, Counts: one},
		"storm did 0 of 2 waves":          {Targets: two},
		"storm broke 3 promises":          {Targets: two, Counts: two, Broken: 3},
		"storm was interrupted":           {Targets: two, Counts: two, Interrupted: true},
		"storm was asked for nothing":     {Counts: two},
		"storm cannot run here: no water": {Targets: two, Skipped: "no water"},
		`storm ran in the form "long"`:    {Targets: two, Counts: two, Form: "long"},
		"storm did not run, nobody knows of a campaign flood": {Campaign: "flood", Targets: two, Counts: two},
	} {
		if l.Campaign == "" {
			l.Campaign = "storm"
		}
		if l.Form == "" {
			l.Form = "ci"
		}
		o := &options{form: "ci", absent: regexp.MustCompile("^$")}
		if got := strings.Join(c.findProblems([]proof.Line{l}, o), ", "); got != want {
			t.Errorf("%+v: got %q, want %q", l, got, want)
		}
		o.absent = regexp.MustCompile("^storm$")
		if got := c.findProblems([]proof.Line{l}, o); l.Skipped != "" && len(got) > 0 {
			t.Errorf("with -absent: got %q", got)
		}
	}
	if got := c.findProblems(nil, &options{form: "ci"}); !slices.Equal(got, []string{"storm did not run"}) {
		t.Errorf("of no line: got %q", got)
	}
}

// tiny is a package of campaigns that do what their names say.
const tiny = "./testdata/tiny"

// TestRun runs tests that do what they should, or not: a campaign whose test has another name now, whose package is gone, that
// skips itself, that dies, and that does less than it was asked for proves nothing, and does not keep others from it.
func TestRun(t *testing.T) {
	t.Setenv("CGO_ENABLED", "0")
	all := []campaign{
		{name: "right", pkg: tiny, tests: "^TestRight$", lines: []string{"right"}},
		{name: "renamed", pkg: tiny, tests: "^TestRight$|^TestOfAnotherName$", lines: []string{"right", "renamed"}},
		{name: "no test", pkg: tiny, tests: "^TestOfAnotherName$", lines: []string{"no test"}},
		{name: "gone", pkg: "./testdata/gone", tests: "^TestRight$", lines: []string{"gone"}},
		{name: "skips", pkg: tiny, tests: "^TestRight$|^TestSkips$", lines: []string{"right"}},
		{name: "dies", pkg: tiny, tests: "^TestDies$", lines: []string{"dies"}},
		{name: "less", pkg: tiny, tests: "^TestLess$", lines: []string{"less"}},
	}
	log, page := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "page")
	o := options{form: "ci", jobs: 2, log: log, report: page, absent: regexp.MustCompile("^$")}
	var out bytes.Buffer
	err := run(t.Context(), &o, all, &out)
	if err == nil {
		t.Fatalf("all is proven:\n%s", out.Bytes())
	}
	t.Log(err)
	for _, want := range []string{
		"renamed (renamed did not run)", "no test (no test did not run)", "gone (go test: exit status 1, gone did not run)", "skips (TestSkips was skipped)",
		"dies (tests: exit status 1, dies did not run)", "less (less did 1 of 2 steps)",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it is not said that %q", want)
		}
	}
	if strings.Contains(err.Error(), "right (") {
		t.Error("what was done is not proven")
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| right | steps | 6 | 6 |", "| no test |", "| gone |", "| dies |", "| less | steps | 2 | 1 |"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the report lacks %q:\n%s", want, b)
		}
	}
	o.only = "right"
	if err := run(t.Context(), &o, all, &out); err != nil {
		t.Error(err)
	}
	o.only = "right,nosuch"
	if err := run(t.Context(), &o, all, &out); err == nil || !strings.Contains(err.Error(), `no campaign of the ci form is called "nosuch"`) {
		t.Errorf("of no such campaign: %v", err)
	}
}

// TestInterrupted: what an interrupt ended, or kept from running, is not proven.
func TestInterrupted(t *testing.T) {
	t.Setenv("CGO_ENABLED", "0")
	mark := filepath.Join(t.TempDir(), "mark")
	t.Setenv("TINY_MARK", mark)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(mark); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	all := []campaign{
		{name: "waits", pkg: tiny, tests: "^TestWaits$", lines: []string{"waits"}},
		{name: "right", pkg: tiny, tests: "^TestRight$", lines: []string{"right"}},
	}
	o := options{form: "ci", jobs: 1, absent: regexp.MustCompile("^$")}
	const want = "not proven: waits (tests: context canceled, waits was interrupted, waits did 0 of 1 steps); right (did not run: interrupted)"
	if err := run(ctx, &o, all, io.Discard); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// TestCampaignsExist holds the list against the tests that there are: each name in it is that of a test, and each campaign
// that a test begins is in it.
func TestCampaignsExist(t *testing.T) {
	t.Chdir("../../../..")
	listed := make(map[string]bool)
	for _, c := range campaigns() {
		for _, l := range c.lines {
			if listed[l] {
				t.Errorf("two campaigns leave a line %s", l)
			}
			listed[l] = true
		}
		if c.weight <= 0 || len(c.lines) == 0 {
			t.Errorf("campaign %s: %+v", c.name, c)
		}
		if c.fuzz {
			continue
		}
		for one := range strings.SplitSeq(c.tests, "|") {
			re, err := regexp.Compile(one)
			if err != nil || !slices.ContainsFunc(testsOf(t, c.pkg), re.MatchString) {
				t.Errorf("campaign %s: no test in %s is called %s (%v)", c.name, c.pkg, one, err)
			}
		}
	}
	for name, file := range begun(t) {
		if !listed[name] && !slices.ContainsFunc(slices.Collect(maps.Keys(listed)), func(l string) bool { return strings.HasSuffix(name, "-") && strings.HasPrefix(l, name) }) {
			t.Errorf("%s begins a campaign %s that is not listed", file, name)
		}
	}
	found, err := targets()
	if err != nil || len(found) < 5 {
		t.Errorf("found %d fuzz targets, %v", len(found), err)
	}
}

// testsOf returns the names of the tests in a package's folder, whatever they are built with.
func testsOf(t *testing.T, pkg string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(b, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names
}

// begun returns the campaigns that tests begin, and where; of a name that is put together the beginning.
func begun(t *testing.T) map[string]string {
	t.Helper()
	names := make(map[string]string)
	err := filepath.WalkDir("pkg", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "testdata" || path == "pkg/internal/proof/prove") {
			return cmp.Or(err, fs.SkipDir)
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") || path == "pkg/internal/proof/proof_test.go" {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`proof\.Begin\(\w+, "([^"]+)"`).FindAllSubmatch(b, -1) {
			names[string(m[1])] = path
		}
		return err
	})
	if err != nil || len(names) < 10 {
		t.Fatalf("found %v, %v", names, err)
	}
	return names
}

func TestOptions(t *testing.T) {
	for _, args := range []string{
		"-form night", "-minutes -1", "-minutes NaN", "-minutes Inf", "-report-only -o x", "-report-only -log x", "-absent (", "-jobs 0", "-jobs 2 -minutes 3", "failover",
	} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s was taken", args)
		}
	}
	if o, err := parse(strings.Fields("-form long -minutes 60 -o x -only model")); err != nil || o.minutes != 60 || o.only != "model" {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestChoose(t *testing.T) {
	for _, only := range []string{"nosuch", "model,nosuch", "fuzz", "(", "model,"} {
		if chosen, err := choose(campaigns(), "ci", only); err == nil && only != "model," {
			t.Errorf("%s: %+v", only, chosen)
		}
	}
	var out bytes.Buffer
	o := options{form: "long", list: true, only: "^fuzz$,^model$"}
	if err := run(t.Context(), &o, campaigns(), &out); err != nil {
		t.Fatal(err)
	}
	if want := "model: model-memory, model-sqlite, model-postgres (./pkg/internal/lot ^TestModel$)\nfuzz: fuzzing (fuzz tests)\n"; out.String() != want {
		t.Errorf("-list says %q", out.String())
	}
}

// TestReportOfNoLog: a log that is not there is a mistake, and no report is made of it.
func TestReportOfNoLog(t *testing.T) {
	dir := t.TempDir()
	o, err := parse([]string{"-report-only", "-log", filepath.Join(dir, "log"), "-o", filepath.Join(dir, "page")})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), &o, weather(), io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(o.report); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the page: %v", err)
	}
}

// TestMake: make takes the bound of a proof from the environment, as docs/reliability.md says.
func TestMake(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("there is no make here")
	}
	c := exec.CommandContext(t.Context(), "make", "-n", "proof")
	c.Dir, c.Env = "../../../..", append(os.Environ(), "PROOF_MINUTES=60")
	if said, err := c.CombinedOutput(); err != nil || !strings.Contains(string(said), "-minutes 60 ") {
		t.Errorf("%v: %s", err, said)
	}
}
