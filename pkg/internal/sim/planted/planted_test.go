package planted

import (
	"go/ast"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// root is the root of the repository.
const root = "../../../.."

// bugs returns the selected bugs: PARKD_PLANTED=no_fence,barging selects two.
func bugs(t *testing.T) []Bug {
	t.Helper()
	all, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	named := os.Getenv("PARKD_PLANTED")
	if named == "" {
		return all
	}
	names := strings.Split(named, ",")
	all = slices.DeleteFunc(all, func(b Bug) bool { return !slices.Contains(names, b.Name) })
	if len(all) != len(names) {
		t.Fatalf("%s: not all of these can be planted", named)
	}
	return all
}

// TestBugsApply: the lines that a bug replaces must exist.
func TestBugsApply(t *testing.T) {
	for _, b := range bugs(t) {
		files, err := b.Patched(root)
		if err != nil {
			t.Error(err)
		}
		for name, text := range files {
			if !strings.HasSuffix(name, ".go") {
				continue
			}
			s, err := parseSource(name, text)
			if err != nil {
				t.Errorf("%s: %v", b.Name, err)
				continue
			}
			for _, i := range unused(s.ast) {
				t.Errorf("%s leaves an import of %s in %s that is not used", b.Name, i, name)
			}
		}
	}
}

// TestBugsBuild: every bug must build. Campaigns use the same builds.
func TestBugsBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles much of parkd")
	}
	all := bugs(t)
	overlay, _, err := Together(all, root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	packages := make(map[string]bool)
	for _, b := range all {
		for _, e := range b.Edits {
			packages["./"+path.Dir(e.File)] = true
		}
	}
	delete(packages, "./migrations/postgres") // it has no Go files
	args := append([]string{"build", "-overlay", overlay}, slices.Sorted(maps.Keys(packages))...)
	if out, err := goTool(t.Context(), args...); err != nil {
		t.Errorf("some of the bugs do not build, which they are named after here: %v\n%s", err, out)
	}
}

// unused returns the imports that a file does not use.
func unused(f *ast.File) (left []string) {
	named := make(map[string]bool)
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				named[x.Name] = true
			}
		}
		return true
	})
	for _, i := range f.Imports {
		name := path.Base(strings.Trim(i.Path.Value, `"`))
		if i.Name != nil {
			name = i.Name.Name
		}
		if name != "_" && !named[name] && !strings.HasPrefix(name, "v") { // as in math/rand/v2
			left = append(left, i.Path.Value)
		}
	}
	return left
}

// TestFormat: a malformed file is an error, not a bug without edits.
func TestFormat(t *testing.T) {
	const head, edit = "It does.\njudge: simulation\n", "\n== a.go\nold\n== becomes\nnew\n"
	good, err := parse("x", head+edit+"\n== b.go\nold\n== becomes\n")
	if want := []Edit{{"a.go", "old\n", "new\n"}, {"b.go", "old\n", ""}}; err != nil || !slices.Equal(good.Edits, want) {
		t.Errorf("got %+v, %v", good, err)
	}
	for _, text := range []string{
		"", head, edit, "It does" + edit, "It does.\n" + edit, "It does.\njudge: me\n" + edit, "It does.\njudge: go test . -run X\n" + edit,
		"It does.\njury: simulation\n" + edit, head + "\n== a.go\nold\n", head + "\n== becomes\nnew\n", head + edit + "== becomes\nnewer\n",
		head + "\n== a.go\nold\n== becomes\nold\n", head + "\n== a.go\n== becomes\nnew\n", head + "\n== ../a.go\nold\n== becomes\nnew\n",
	} {
		if b, err := parse("x", text); err == nil {
			t.Errorf("taken as %+v: %q", b, text)
		}
	}
}
