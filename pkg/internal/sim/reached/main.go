// Command reached compares a coverage profile of the simulation with a list of what its histories do not reach, and why.
// What is not reached and not listed, or listed and reached or gone, is told, and the exit status is 1. It is not an API.
//
// The list has a line for each block of code, under a line that begins with # and gives the reason:
//
//	# The real world waits in its own way.
//	pkg/engine/wait.go | (*loop).next | select { | 2
//
// A block is named by its file, its function, the text of the line on which it begins, and which of the function's blocks
// that begin with this text it is, if it is not the first: so an edit elsewhere changes nothing. A * instead of a text stands
// for all blocks of a function.
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

// parse reads a list: the reason of each line.
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

// compare says in what the list differs from what was found.
func (f *findings) compare(reasons map[string]string) (wrong []string) {
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

// list returns the list as it has to be.
func (f *findings) list(reasons map[string]string) string {
	left := make(map[string]bool) // functions of which something is reached
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
