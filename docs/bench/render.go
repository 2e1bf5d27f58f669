package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const preface = `# Performance

` + "`make bench`" + ` and ` + "`make bench-large`" + ` write this page; docs/bench shows how each row is measured. Absolute
figures depend on the machine and vary on it. So a target is either a time, or a ratio of two things
that were measured alternately in one run. A figure is the median of its rounds, with the lowest and
the highest round beside it. The daemon is the real binary in a process of its own. The load generator
is a separate process and uses the same cores, and so do the systems that parkd is compared with.

In each measurement a task is submitted, run, completed, put into its mailbox and recorded in the audit
log. It is acknowledged only when it is as durable as its backend can make it. The run is simulated
work that takes no time. Bare HTTP is a net/http server that decodes the same submission, answers 202
and does nothing else. There are 256 clients unless the row says otherwise.
`

// render returns the document.
func (res *results) render() []byte {
	var b bytes.Buffer
	b.WriteString(preface)
	b.WriteString("\n## Targets\n\n")
	missed := res.table(&b, targets(), true)
	b.WriteString("\n## Other measurements\n\n")
	res.table(&b, others(), false)
	if len(missed) > 0 {
		b.WriteString("\n## Missed targets, and why\n\n")
		for _, r := range missed {
			fmt.Fprintf(&b, "- **%s**: %s\n", r.title, r.reason)
		}
	}
	res.details(&b)
	res.machines(&b)
	return b.Bytes()
}

func (r *row) met(v float64) bool {
	if r.minimum {
		return v >= r.limit
	}
	return v <= r.limit
}

func (r *row) target() string {
	sign := "≤ "
	if r.minimum {
		sign = "≥ "
	}
	return sign + trimZeros(fmt.Sprintf(r.format, r.limit))
}

// trimZeros removes needless zeros from the number in a text.
func trimZeros(s string) string {
	number, unit, _ := strings.Cut(s, " ")
	if f, err := strconv.ParseFloat(number, 64); err == nil {
		number = strconv.FormatFloat(f, 'f', -1, 64)
	}
	return number + " " + unit
}

// table writes rows and returns those that miss their target.
func (res *results) table(b *bytes.Buffer, rows []row, withTargets bool) (missed []row) {
	if withTargets {
		b.WriteString("| what | target | measured | rounds, lowest to highest | met |\n|---|---|---|---|---|\n")
	} else {
		b.WriteString("| what | measured | rounds, lowest to highest |\n|---|---|---|\n")
	}
	for _, r := range rows {
		f, ok := res.Figures[r.id]
		value, spread, met := "not measured", "", "?"
		if ok {
			value, spread = fmt.Sprintf(r.format, f.Value), fmt.Sprintf("%d", f.Rounds)
			if f.Rounds > 1 {
				spread += ": " + fmt.Sprintf(r.format, f.Low) + " to " + fmt.Sprintf(r.format, f.High)
			}
			if met = "yes"; !r.met(f.Value) {
				met = "**no**"
				missed = append(missed, r)
			}
		}
		if withTargets {
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", r.title, r.target(), value, spread, met)
		} else {
			fmt.Fprintf(b, "| %s | %s | %s |\n", r.title, value, spread)
		}
	}
	return missed
}

// details writes the details of each figure.
func (res *results) details(b *bytes.Buffer) {
	b.WriteString("\n## Details\n\n")
	for _, r := range slices.Concat(targets(), others()) {
		if f, ok := res.Figures[r.id]; ok && f.Detail != "" {
			fmt.Fprintf(b, "- %s: %s (`make bench BENCH='-only %s'`).\n", r.title, f.Detail, r.section)
		}
	}
}

// machines writes the machines and dates of the figures.
func (res *results) machines(b *bytes.Buffer) {
	b.WriteString("\n## Machines and dates\n\n")
	seen := make(map[string]bool)
	for _, r := range slices.Concat(targets(), others()) {
		f, ok := res.Figures[r.id]
		if line := fmt.Sprintf("- %s: %s\n", f.At.Format("2006-01-02"), f.Where); ok && !seen[line] {
			seen[line] = true
			b.WriteString(line)
		}
	}
}

// describeMachine describes the machine of this run.
func describeMachine() string {
	model := "an unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				model = strings.Trim(name, "\t :\n")
				break
			}
		}
	}
	memory := ""
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			memory = fmt.Sprintf(", %.0f GiB of memory", float64(kib)/(1<<20))
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores%s, %s %s, %s", model, runtime.NumCPU(), memory, runtime.GOOS, strings.TrimSpace(string(kernel)), runtime.Version())
}
