package engine

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFilesAreInOrder: a file calls only files after it, in the order in which docs/design.md lists them, so that the
// package can be read from top to bottom. Types and constants are not calls.
func TestFilesAreInOrder(t *testing.T) {
	order := filesInDesign(t)
	fset := token.NewFileSet()
	var files []*ast.File
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if !slices.Contains(order, name) {
			t.Errorf("docs/design.md does not list %s", name)
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for _, name := range order {
		if !slices.Contains(names, name) {
			t.Errorf("docs/design.md lists %s, which is not there", name)
		}
	}
	uses := make(map[*ast.Ident]types.Object)
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", compiled(t))}
	if _, err := conf.Check("engine", fset, files, &types.Info{Uses: uses}); err != nil {
		t.Fatal(err)
	}
	var up []string
	for ident, object := range uses {
		called, ok := object.(*types.Func)
		if !ok || called.Pkg() == nil || called.Pkg().Path() != "engine" {
			continue
		}
		from, to := filepath.Base(fset.Position(ident.Pos()).Filename), filepath.Base(fset.Position(called.Pos()).Filename)
		if slices.Index(order, to) < slices.Index(order, from) {
			up = append(up, fmt.Sprintf("%s calls %s of %s, which comes before it", from, called.Name(), to))
		}
	}
	slices.Sort(up)
	for _, line := range slices.Compact(up) {
		t.Error(line)
	}
}

// compiled returns what finds the compiled form of each package that this one imports.
func compiled(t *testing.T) importer.Lookup {
	t.Helper()
	list, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

var fileName = regexp.MustCompile("`([a-z]+\\.go)`")

// filesInDesign returns the files of this package in the order in which docs/design.md lists them.
func filesInDesign(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "<!-- files of pkg/engine -->\n")
	if !found {
		t.Fatal("docs/design.md has no list of the files of pkg/engine")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		for _, m := range fileName.FindAllStringSubmatch(cells[1], -1) {
			names = append(names, m[1])
		}
	}
	return names
}
