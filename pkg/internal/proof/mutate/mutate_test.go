package main

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const program = `package sums

// Most returns the larger sum of two neighbours, and whether there is one.
func Most(list []int) (most int, found bool) {
	for i := 0; i+1 < len(list); i++ {
		if s := list[i] + list[i+1]; !found || s > most {
			most = s
			found = true
		}
	}
	return min(most, 100), found
}

func never(list []int) int {
	if len(list) > 3 && list[0] > 0 {
		return list[0] - 1
	}
	return 0
}
`

const programTest = `package sums

import "testing"

func TestMost(t *testing.T) {
	for _, c := range []struct {
		list []int
		most int
	}{{nil, 0}, {[]int{1, 2, 5, 1}, 7}, {[]int{-3, -1}, -4}, {[]int{4, 4, 1}, 8}, {[]int{90, 90}, 100}} {
		if got, found := Most(c.list); got != c.most || found != (len(c.list) > 1) {
			t.Errorf("Most(%v) = %d, %t", c.list, got, found)
		}
	}
}
`

// sums writes the program as a module of its own, and goes there.
func sums(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/sums\n\ngo 1.26\n", "sums.go": program, "sums_test.go": programTest} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// TestChanges demands that each change is built, tried, and told of as it is.
func TestChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	sums(t)
	o := options{pkg: ".", judges: []string{"."}, jobs: 2, every: 1, only: regexp.MustCompile(""), skip: regexp.MustCompile("^$")}
	p, err := load(t.Context(), o.pkg)
	if err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	changes, err := p.writeOverlay(scratch)
	if err != nil {
		t.Fatal(err)
	}
	b, err := build(t.Context(), o, p, scratch, len(changes))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.try(t.Context(), changes, o.jobs); err != nil {
		t.Fatal(err)
	}
	var noticed, not []string
	for _, c := range changes {
		_, name, _ := strings.Cut(c.name, "sums.go ")
		if c.outcome.by != "" {
			noticed = append(noticed, name)
		} else {
			not = append(not, name)
		}
	}
	for _, want := range []string{
		"Most: or equal: i+1 < len(list)", "Most: minus: list[i] + list[i+1]", "Most: left out: found = true",
		"Most: never: !found", "Most: never: s > most", "Most: max instead: min(most, 100)", "Most: the other: true",
	} {
		if !slices.Contains(noticed, want) {
			t.Errorf("not noticed: %s", want)
		}
	}
	for _, want := range []string{"Most: or equal: s > most", "never: plus: list[0] - 1", "never: always: len(list) > 3", "never: or equal: list[0] > 0"} {
		if !slices.Contains(not, want) {
			t.Errorf("noticed, though nothing can: %s", want)
		}
	}
	if err := printReport(changes, map[string]string{}, o); err == nil {
		t.Error("changes that nothing noticed are no failure")
	}
}

// TestOptions: what is mistaken is told, and not left out or taken for a run that tried all.
func TestOptions(t *testing.T) {
	for _, args := range []string{"./pkg/engine", "-jobs 0", "-every 0", "-only (", "-skip (", "-what"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s was taken", args)
		}
	}
	off, err := filepath.Abs("written_off.txt")
	if err != nil {
		t.Fatal(err)
	}
	sums(t)
	if err := errors.Join(os.Mkdir("more", 0o700), os.WriteFile("more/more.go", []byte("package more\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{"-pkg . -only nosuch": "nosuch", "-pkg ./nosuch": "nosuch", "-pkg ./...": "more than one"} {
		o, err := parse(append([]string{"-list", "-off", off}, strings.Fields(args)...))
		if err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", args, err)
		}
	}
}

// TestWrittenOff demands that what is written off still is in the program, and has a reason.
func TestWrittenOff(t *testing.T) {
	off, err := readWrittenOff("written_off.txt")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("../../../..")
	packages, known := map[string]bool{}, map[string]bool{}
	for name := range off {
		file, _, _ := strings.Cut(name, " ")
		packages["./"+path.Dir(file)] = true
	}
	for pkg := range packages {
		p, err := load(t.Context(), pkg)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := p.writeOverlay(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			known[c.name] = true
		}
	}
	for name := range off {
		if !known[name] {
			t.Errorf("written off, but gone: %s", name)
		}
	}
}
