package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

// campaign is one run of go test, which may contain several campaigns of package proof.
type campaign struct {
	name   string
	pkg    string
	tests  string
	lines  []string // the campaigns of package proof in it, each of which must leave a line in the log
	weight float64  // share of the time
	room   room     // the resources that it needs
	fuzz   bool
	// cover names packages that the ci form must reach, except for the blocks in a list; see pkg/internal/sim/reached.
	cover string
}

// inForm reports whether the campaign is part of a form.
func (c *campaign) inForm(form string) bool { return form == proof.Long || !c.fuzz }

// slack is how much longer than its time a campaign may take, for the final checks.
const slack = 15 * time.Minute

// result is the result of a campaign.
type result struct {
	lines    []proof.Line
	problems []string // why it proves nothing; empty if it does
}

// run runs a campaign, which writes its lines to the file log.
func (c *campaign) run(ctx context.Context, p *programme, share float64, log string, out io.Writer) (r result) {
	var err error
	var said bytes.Buffer
	out = io.MultiWriter(out, &said)
	if c.fuzz {
		err = fuzzAll(ctx, p.form, log, share, out)
	} else {
		err = c.test(ctx, p, share, log, out)
	}
	if err != nil {
		r.problems = append(r.problems, err.Error())
	}
	for _, m := range skips.FindAllStringSubmatch(said.String(), -1) {
		r.problems = append(r.problems, m[1]+" was skipped")
	}
	if r.lines, err = read(log); err != nil {
		r.problems = append(r.problems, err.Error())
	}
	r.problems = append(r.problems, c.findProblems(r.lines, p.options)...)
	if len(r.problems) == 0 && c.covered(p) {
		if err := goTool(ctx, out, "run", "./pkg/internal/sim/reached", "-profile", c.profile(p)); err != nil {
			r.problems = append(r.problems, "what it reaches is not what the list says")
		}
	}
	return r
}

// covered reports whether the campaign's coverage is compared with the list, which is for the histories of the ci form
// only.
func (c *campaign) covered(p *programme) bool { return c.cover != "" && p.form == proof.CI }

func (c *campaign) profile(p *programme) string { return filepath.Join(p.builder.dir, c.name+".cover") }

var skips = regexp.MustCompile(`(?m)^ *--- SKIP: (\S+)`)

// gogc sets how often the tests themselves collect garbage. Tests that compute need little memory, and a third less
// time if they collect rarely; tests that start daemons use the default for them.
const gogc = "GOGC"

// test runs the campaign's tests as the go command would.
func (c *campaign) test(ctx context.Context, p *programme, share float64, log string, out io.Writer) error {
	cover, args := "", []string(nil)
	if c.covered(p) {
		cover, args = c.cover, []string{"-test.coverprofile", c.profile(p)}
	}
	path, err := p.builder.tests(ctx, c.pkg, cover, out)
	if err != nil {
		return err
	}
	limit := 2*slack + time.Duration(share)*time.Second
	args = append(args, "-test.run", c.tests, "-test.v", "-test.paniconexit0", "-test.timeout", limit.String())
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.pkg, out, out
	cmd.Env = append(os.Environ(), proof.EnvForm+"="+p.form, proof.EnvLog+"="+log, proof.EnvBuilds+"="+p.builder.dir)
	if c.room != little && os.Getenv(gogc) == "" {
		cmd.Env = append(cmd.Env, gogc+"=400")
	}
	if share > 0 {
		cmd.Env = append(cmd.Env, proof.EnvSeconds+"="+strconv.Itoa(max(1, int(share/float64(len(c.lines))))))
	}
	interruptible(cmd)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("tests: %w", err)
	}
	return nil
}

// findProblems returns what the campaign has not done or has broken, by its lines. A test that was renamed, skipped
// itself or died has left none.
func (c *campaign) findProblems(lines []proof.Line, o *options) (all []string) {
	for _, name := range c.lines {
		if !slices.ContainsFunc(lines, func(l proof.Line) bool { return l.Campaign == name }) {
			all = append(all, name+" did not run")
		}
	}
	for _, l := range lines {
		switch {
		case !slices.Contains(c.lines, l.Campaign):
			all = append(all, "nobody knows of a campaign "+l.Campaign)
		case l.Form != o.form:
			all = append(all, fmt.Sprintf("%s ran in the form %q", l.Campaign, l.Form))
		case l.Skipped != "" && !o.absent.MatchString(l.Campaign):
			all = append(all, fmt.Sprintf("%s cannot run here: %s", l.Campaign, l.Skipped))
		case l.Skipped == "":
			all = append(all, shortfall(&l)...)
		}
	}
	return all
}

// shortfall returns what a campaign that ran has not done of its targets, and what it has broken.
func shortfall(l *proof.Line) (all []string) {
	if l.Broken > 0 {
		all = append(all, fmt.Sprintf("%s broke %d promises", l.Campaign, l.Broken))
	}
	if l.Interrupted {
		all = append(all, l.Campaign+" was interrupted")
	}
	asked := int64(0)
	for _, what := range sorted(l.Targets) {
		asked += l.Targets[what]
		if l.Counts[what] < l.Targets[what] {
			all = append(all, fmt.Sprintf("%s did %s of %s %s", l.Campaign, thousands(l.Counts[what]), thousands(l.Targets[what]), what))
		}
	}
	if asked == 0 {
		all = append(all, l.Campaign+" was asked for nothing")
	}
	return all
}

// goTool runs the go command.
func goTool(ctx context.Context, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stdout, cmd.Stderr = out, out
	interruptible(cmd)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

// interruptible runs a command in its own process group, which is interrupted when its context ends, so that the
// running campaign ends early and cleans up.
func interruptible(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = slack
}
