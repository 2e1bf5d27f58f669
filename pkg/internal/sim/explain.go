package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// tail is how many lines of a timeline are printed.
const tail = 60

// Explain runs a history that broke a guarantee again, with fewer and fewer kinds of faults, and describes the smallest
// one that still breaks it: how to run it, what was broken, and what happened before.
func Explain(o Options) string {
	o.Timeline = false
	r := Run(o)
	if r.Err == nil {
		return fmt.Sprintf("seed %d breaks no promise", o.Seed)
	}
	for _, k := range Kinds() {
		if slices.Contains(o.Without, k) {
			continue
		}
		less := o
		less.Without = append(slices.Clone(o.Without), k)
		if same(Run(less).Err, r.Err) {
			o = less
		}
	}
	o.Timeline = true
	r = Run(o)
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, without %q: %v\n", o.Seed, o.Without, r.Err)
	lines := r.Timeline
	if task := taskOf(r.Err.Error()); task != "" {
		lines = about(lines, task)
	}
	for _, l := range lines[max(0, len(lines)-tail):] {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.String()
}

// same reports whether two histories broke the same guarantee.
func same(a, b error) bool {
	v, ok := errors.AsType[*Violation](a)
	w, also := errors.AsType[*Violation](b)
	return ok && also && v.Promise == w.Promise
}

// taskOf returns the first task that a violation names.
func taskOf(text string) string {
	_, rest, found := strings.Cut(text, "task ")
	if !found {
		return ""
	}
	id, _, _ := strings.Cut(rest, " ")
	return strings.TrimRight(id, ":;,")
}

// about returns the lines about a task, and those about faults.
func about(lines []string, task string) (kept []string) {
	for _, l := range lines {
		fields := strings.Fields(l)
		if slices.Contains(fields, task) || fields[1] != "event" && fields[1] != "process" {
			kept = append(kept, l)
		}
	}
	return kept
}
