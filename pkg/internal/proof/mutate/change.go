package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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
	"slices"
	"strings"
)

// change is one mutation of the program.
type change struct {
	number  int
	name    string // file, function, kind and text; with a number if several are equal
	outcome outcome
}

// outcome is the result of a change.
type outcome struct {
	reached bool
	by      string // the test that noticed it; "" if none did
}

// source is a package to be changed.
type source struct {
	path  string
	dir   string
	files []*file
	set   *token.FileSet
	info  *types.Info

	changes    []*change
	nameCounts map[string]int
}

// file is a file of the package, with its edits.
type file struct {
	name  string
	text  []byte
	tree  *ast.File
	edits []edit
}

// edit inserts text at an offset, or replaces the bytes up to another.
type edit struct {
	at, to int
	text   string
	// At the same offset, closing edits come before opening ones; inner ones close first and open last.
	closes bool
	other  int // the offset of the other end
	seq    int
}

// load parses and type-checks a package.
func load(ctx context.Context, path string) (*source, error) {
	exports, err := exportsOf(ctx, path)
	if err != nil {
		return nil, err
	}
	p := &source{
		path: path, dir: exports.dir, set: token.NewFileSet(), nameCounts: map[string]int{},
		info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}},
	}
	var trees []*ast.File
	for _, name := range exports.files {
		full := filepath.Join(p.dir, name)
		text, err := os.ReadFile(full)
		if err != nil {
			return nil, err
		}
		tree, err := parser.ParseFile(p.set, full, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files, trees = append(p.files, &file{name: name, text: text, tree: tree}), append(trees, tree)
	}
	conf := types.Config{Importer: importer.ForCompiler(p.set, "gc", exports.open)}
	if _, err := conf.Check(exports.path, p.set, trees, p.info); err != nil {
		return nil, fmt.Errorf("check %s: %w", path, err)
	}
	return p, nil
}

// exports are the compiled dependencies of a package.
type exports struct {
	path, dir string
	files     []string
	byPath    map[string]string
}

func (e *exports) open(path string) (io.ReadCloser, error) { return os.Open(e.byPath[path]) }

func exportsOf(ctx context.Context, path string) (*exports, error) {
	c := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles,DepOnly", "--", path)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", path, err)
	}
	e := &exports{byPath: map[string]string{}}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l struct {
			ImportPath, Export, Dir string
			GoFiles                 []string
			DepOnly                 bool
		}
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return e, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list %s: %w", path, err)
		}
		e.byPath[l.ImportPath] = l.Export
		if !l.DepOnly && e.path != "" {
			return nil, fmt.Errorf("%s is more than one package", path)
		}
		if !l.DepOnly {
			e.path, e.dir, e.files = l.ImportPath, l.Dir, l.GoFiles
		}
	}
}

// writeOverlay finds the changes and writes the files with them, and overlay.json, into a folder.
func (p *source) writeOverlay(folder string) ([]*change, error) {
	replace := map[string]string{}
	for _, f := range p.files {
		p.find(f)
		to := filepath.Join(folder, f.name)
		if err := os.WriteFile(to, f.patched(), 0o600); err != nil {
			return nil, err
		}
		replace[filepath.Join(p.dir, f.name)] = to
	}
	to := filepath.Join(folder, "mutate_switch.go")
	if err := os.WriteFile(to, []byte("package "+p.files[0].tree.Name.Name+"\n"+switchSource), 0o600); err != nil {
		return nil, err
	}
	replace[filepath.Join(p.dir, "mutate_switch.go")] = to
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	return p.changes, os.WriteFile(filepath.Join(folder, overlayName), overlay, 0o600)
}

const overlayName = "overlay.json"

// The environment variables that the switch reads.
const (
	envActive = "PARKD_MUTATE"
	envSeen   = "PARKD_MUTATE_SEEN"
)

// switchSource is added to the package: mutOn(n) is true if change n is active. If a file is given, it records in it,
// one byte per change, which changes were reached.
const switchSource = `
import (
	"cmp"
	"os"
	"strconv"
	"syscall"
)

var mutActive, mutSeen = mutBegin()

func mutBegin() (int, []byte) {
	n, err := strconv.Atoi(os.Getenv("PARKD_MUTATE"))
	if err != nil {
		n = -1
	}
	f, err := os.OpenFile(os.Getenv("PARKD_MUTATE_SEEN"), os.O_RDWR, 0)
	if err != nil {
		return n, nil
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil {
		panic(err)
	}
	seen, err := syscall.Mmap(int(f.Fd()), 0, int(s.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return n, seen
}

func mutOn(n int) bool {
	if mutSeen != nil {
		mutSeen[n] = 1
	}
	return n == mutActive
}

type mutNumber interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float64
}

func mutAdd[T mutNumber](n int, a, b T) T {
	if mutOn(n) {
		return a - b
	}
	return a + b
}

func mutSub[T mutNumber](n int, a, b T) T {
	if mutOn(n) {
		return a + b
	}
	return a - b
}

func mutMin[T cmp.Ordered](n int, a, b T) T {
	if mutOn(n) {
		return max(a, b)
	}
	return min(a, b)
}

func mutMax[T cmp.Ordered](n int, a, b T) T {
	if mutOn(n) {
		return min(a, b)
	}
	return max(a, b)
}
`

// patched returns the file with its edits.
func (f *file) patched() []byte {
	slices.SortFunc(f.edits, func(a, b edit) int {
		if c := cmp.Compare(a.at, b.at); c != 0 || a.closes != b.closes {
			return cmp.Or(c, toInt(b.closes)-toInt(a.closes))
		}
		if a.closes {
			return cmp.Or(cmp.Compare(b.other, a.other), cmp.Compare(b.seq, a.seq))
		}
		return cmp.Or(cmp.Compare(b.other, a.other), cmp.Compare(a.seq, b.seq))
	})
	var out []byte
	from := 0
	for _, e := range f.edits {
		out = append(append(out, f.text[from:e.at]...), e.text...)
		from = max(e.at, e.to)
	}
	return append(out, f.text[from:]...)
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
