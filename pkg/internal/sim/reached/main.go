// Command reached compares a coverage profile of the simulation with a list of the blocks that its histories do not
// reach, with reasons. It prints the differences and exits with 1 if there are any. It is not an API.
//
// The list has a line for each block, below a line that begins with # and gives the reason:
//
//	# The real world waits in its own way.
//	pkg/engine/wait.go | (*loop).next | select { | 2
//
// A block is identified by its file, its function, the text of its first line, and, if several blocks of the function
// begin with that text, its number among them; so edits elsewhere do not matter. A * instead of a text means all blocks
// of a function.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	profile := flag.String("profile", "", "the coverage profile")
	list := flag.String("list", "pkg/internal/sim/unreached.txt", "what is not reached")
	write := flag.Bool("write", false, "print the list as it has to be, with the reasons that it has")
	flag.Parse()
	if *profile == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "-profile is needed, and nothing but flags: go test -coverprofile writes one")
		os.Exit(2)
	}
	found, err := read(*profile, ".")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	text, err := os.ReadFile(*list)
	if err != nil && !*write {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	reasons := parse(string(text))
	for _, pkg := range slices.Sorted(maps.Keys(found.packages)) {
		p := found.packages[pkg]
		fmt.Fprintf(os.Stderr, "%s: %d of %d statements reached (%.1f %%)\n", pkg, p.reached, p.all, 100*float64(p.reached)/float64(p.all))
	}
	if *write {
		fmt.Print(found.list(reasons))
		return
	}
	wrong := found.compare(reasons)
	for _, w := range wrong {
		fmt.Println(w)
	}
	if len(wrong) > 0 {
		os.Exit(1)
	}
}

// parse reads a list and returns the reason of each line.
func parse(text string) map[string]string {
	reasons, reason := make(map[string]string), ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if why, ok := strings.CutPrefix(line, "#"); ok {
			reason = strings.TrimSpace(why)
		} else if line != "" {
			reasons[line] = reason
		}
	}
	return reasons
}

// compare returns the differences between the list and the profile.
func (f *report) compare(reasons map[string]string) (wrong []string) {
	used := make(map[string]bool)
	for _, b := range f.blocks {
		whole := b.function() + " | *"
		_, listed := reasons[b.String()]
		_, all := reasons[whole]
		used[b.String()], used[whole] = true, true
		switch {
		case b.reached && listed:
			wrong = append(wrong, "reached, but listed as not reached: "+b.String())
		case b.reached && all:
			wrong = append(wrong, "reached, but its function is listed as not reached: "+b.String())
		case !b.reached && !listed && !all:
			wrong = append(wrong, "not reached, and not listed: "+b.String())
		}
	}
	for _, line := range slices.Sorted(maps.Keys(reasons)) {
		if !used[line] {
			wrong = append(wrong, "listed, but there is no such block: "+line)
		}
		if reasons[line] == "" {
			wrong = append(wrong, "listed without a reason: "+line)
		}
	}
	return wrong
}

// list returns the list for the profile.
func (f *report) list(reasons map[string]string) string {
	left := make(map[string]bool) // functions that are partly reached
	for _, b := range f.blocks {
		left[b.function()] = left[b.function()] || b.reached
	}
	lines := make(map[string][]string) // by reason
	seen := make(map[string]bool)
	for _, b := range f.blocks {
		line := b.String()
		if !left[b.function()] {
			line = b.function() + " | *"
		}
		if b.reached || seen[line] {
			continue
		}
		seen[line] = true
		lines[reasons[line]] = append(lines[reasons[line]], line)
	}
	var text strings.Builder
	for _, reason := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(&text, "# %s\n%s\n\n", reason, strings.Join(lines[reason], "\n"))
	}
	return text.String()
}
