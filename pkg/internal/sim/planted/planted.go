// Package planted holds bugs that tests plant in parkd to see whether they are found. It is no part of the product, and
// no API; the product's code has no bug for tests. Each bug is a text file in the folder bugs, with a description, its
// judge, and the lines of code that it replaces:
//
//	A result of an older run ends the present one.
//	judge: simulation
//
//	== pkg/internal/lot/ops.go
//		if e == nil || int(e.attempt) != o.Attempt {
//	== becomes
//		if e == nil {
//
// The old lines must occur exactly once in the file, after the replacements before: otherwise the bug no longer
// applies, and a test fails. Without new lines the old ones are removed. The judge is "simulation", in which a
// guarantee of package sim must be broken, or a command such as "go test ./pkg/api -run ^TestGuard$" for one package,
// in which a test must fail. A line "alone: ..." says why [Together] leaves the bug out.
//
// To build a program with a bug, and a description of the bug:
//
//	bugs, err := planted.Load()
//	overlay, err := bugs[0].Overlay(root, scratch)  // a file for go build -overlay, in the folder scratch
//	exec.Command("go", "build", "-overlay", overlay, "-o", "parkd", root)
//
// In a program that is built once for many bugs ([Together]), the environment variable PARKD_PLANTED_BUG selects one.
package planted

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed bugs
var texts embed.FS

// Simulation is the judge of bugs that break guarantees in simulated deployments.
const Simulation = "simulation"

// Bug is a bug that can be planted.
type Bug struct {
	Name  string
	Does  string // in one sentence
	Judge Judge
	Alone bool // it cannot be built with others into one program; see [Together]
	Edits []Edit
}

// Judge must find a bug: some tests of a package, or [Simulation].
type Judge struct {
	Simulation bool
	Package    string // such as ./pkg/api
	Run        string // a pattern of tests
}

// Edit replaces lines of a file.
type Edit struct {
	File     string // from the root of the repository
	Old, New string // whole lines
}

// Load returns all bugs, by name.
func Load() ([]Bug, error) {
	files, err := texts.ReadDir("bugs")
	if err != nil {
		return nil, err
	}
	bugs := make([]Bug, len(files))
	for i, f := range files {
		text, err := texts.ReadFile("bugs/" + f.Name())
		if err != nil {
			return nil, err
		}
		if bugs[i], err = parse(strings.TrimSuffix(f.Name(), ".txt"), string(text)); err != nil {
			return nil, fmt.Errorf("bug %s: %w", f.Name(), err)
		}
	}
	return bugs, nil
}

// Find returns the bug with the name.
func Find(name string) (Bug, error) {
	bugs, err := Load()
	for _, b := range bugs {
		if b.Name == name {
			return b, nil
		}
	}
	return Bug{}, errors.Join(err, fmt.Errorf("there is no bug %q to plant", name))
}

func parse(name, text string) (Bug, error) {
	parts := strings.Split(text, "\n== ")
	does, headers, _ := strings.Cut(parts[0], "\n")
	b := Bug{Name: name, Does: does}
	for line := range strings.Lines(headers) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), ": "); key {
		case "":
		case "judge":
			var err error
			if b.Judge, err = judgeOf(value); err != nil {
				return b, err
			}
		case "alone":
			b.Alone = true
		default:
			return b, fmt.Errorf("unknown header %q", key)
		}
	}
	for i, part := range parts[1:] {
		title, body, _ := strings.Cut(part, "\n")
		switch {
		case (title == "becomes") != (i%2 == 1):
			return b, fmt.Errorf("a file and what becomes of it must take turns, but %q comes out of turn", title)
		case title == "becomes":
			b.Edits[i/2].New = lines(body)
		default:
			b.Edits = append(b.Edits, Edit{File: title, Old: lines(body)})
		}
	}
	if len(parts)%2 == 0 {
		return b, errors.New("nothing is said of what becomes of the last lines")
	}
	return b, b.check()
}

// lines ends a text that is not empty with one line break.
func lines(s string) string {
	if s = strings.TrimRight(s, "\n"); s == "" {
		return ""
	}
	return s + "\n"
}

func judgeOf(s string) (Judge, error) {
	if s == Simulation {
		return Judge{Simulation: true}, nil
	}
	f := strings.Fields(s)
	if len(f) != 5 || f[0] != "go" || f[1] != "test" || !strings.HasPrefix(f[2], "./") || f[3] != "-run" {
		return Judge{}, fmt.Errorf("judge must be %q or such as \"go test ./pkg/api -run ^TestGuard$\", not %q", Simulation, s)
	}
	return Judge{Package: f[2], Run: f[4]}, nil
}

func (b *Bug) check() error {
	switch {
	case !strings.HasSuffix(b.Does, "."):
		return errors.New("the first line must be a sentence that says what the bug does")
	case b.Judge == Judge{}:
		return errors.New("no judge is named")
	case len(b.Edits) == 0:
		return errors.New("it changes nothing")
	}
	for _, e := range b.Edits {
		if e.Old == "" || e.Old == e.New || !filepath.IsLocal(e.File) {
			return fmt.Errorf("a replacement in %q changes nothing", e.File)
		}
	}
	return nil
}

// Patched returns the contents of the files that the bug changes, by their paths from the root of the repository.
func (b Bug) Patched(root string) (map[string]string, error) {
	files := make(map[string]string)
	for _, e := range b.Edits {
		text, ok := files[e.File]
		if !ok {
			was, err := os.ReadFile(filepath.Join(root, e.File))
			if err != nil {
				return nil, fmt.Errorf("bug %s: %w", b.Name, err)
			}
			text = string(was)
		}
		text = "\n" + text
		if n := strings.Count(text, "\n"+e.Old); n != 1 {
			return nil, fmt.Errorf("bug %s no longer applies: %s holds these lines %d times, not once:\n%s", b.Name, e.File, n, e.Old)
		}
		files[e.File] = strings.Replace(text, "\n"+e.Old, "\n"+e.New, 1)[1:]
	}
	return files, nil
}

// Overlay writes the files that the go command needs to build parkd with the bug, and returns the path for its option
// -overlay. The files are in the folder scratch, which must exist and be kept until the build is done.
func (b Bug) Overlay(root, scratch string) (string, error) {
	files, err := b.Patched(root)
	if err != nil {
		return "", err
	}
	return overlay(root, filepath.Join(scratch, b.Name), files)
}

// overlay writes files and the list of them into a folder.
func overlay(root, dir string, files map[string]string) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { // there may be no files
		return "", err
	}
	replace := make(map[string]string)
	for name, text := range files {
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, name)] = to
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}
