package main

import (
	"bufio"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// block is a block of code in a coverage profile.
type block struct {
	file, name string // of its function
	text       string // of its first line
	nth        int    // among the blocks of the function with this text
	reached    bool
}

func (b block) function() string { return b.file + " | " + b.name }

// String returns the block's line in the list.
func (b block) String() string {
	s := b.function() + " | " + b.text
	if b.nth > 1 {
		s += fmt.Sprintf(" | %d", b.nth)
	}
	return s
}

// report is the content of a profile.
type report struct {
	blocks   []block
	packages map[string]*coverage
}

// coverage counts the statements of a package.
type coverage struct{ reached, all int }

// span is a block in a profile.
type span struct {
	file                   string
	line, column, to, tail int
	statements, count      int
}

// read reads a profile of packages of the module in the folder root.
func read(profile, root string) (*report, error) {
	spans, err := readSpans(profile)
	if err != nil {
		return nil, err
	}
	f := &report{packages: make(map[string]*coverage)}
	var of *source
	for _, s := range spans {
		if of == nil || of.path != s.file {
			if of, err = readSource(s.file, root); err != nil {
				return nil, err
			}
		}
		b := of.block(s)
		f.blocks = append(f.blocks, b)
		pkg := filepath.Dir(b.file)
		if f.packages[pkg] == nil {
			f.packages[pkg] = &coverage{}
		}
		f.packages[pkg].all += s.statements
		if b.reached {
			f.packages[pkg].reached += s.statements
		}
	}
	return f, nil
}

// readSpans returns the blocks of a profile, each once, in the order of their files.
func readSpans(profile string) ([]span, error) {
	text, err := os.Open(profile)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	counts := make(map[span]int)
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		file, rest, _ := strings.Cut(lines.Text(), ":")
		s := span{file: file}
		if file == "mode" {
			continue
		}
		if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &s.line, &s.column, &s.to, &s.tail, &s.statements, &s.count); err != nil {
			return nil, fmt.Errorf("read profile: %q: %w", lines.Text(), err)
		}
		n := s.count
		s.count = 0
		counts[s] += n
	}
	var all []span
	for s, n := range counts {
		s.count = n
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	return all, lines.Err()
}

// source is a file with its functions.
type source struct {
	path, name string
	lines      []string
	files      *token.FileSet
	tree       *ast.File
	seen       map[string]int
}

func readSource(path, root string) (*source, error) {
	_, name, _ := strings.Cut(path, "/pkg/")
	name = "pkg/" + name
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return nil, err
	}
	s := &source{path: path, name: name, lines: strings.Split(string(text), "\n"), files: token.NewFileSet(), seen: make(map[string]int)}
	s.tree, err = parser.ParseFile(s.files, name, text, parser.SkipObjectResolution)
	return s, err
}

// block returns a block of the file. They must be asked for in order.
func (s *source) block(p span) block {
	b := block{file: s.name, name: s.function(p.line), text: strings.TrimSpace(s.lines[p.line-1]), reached: p.count > 0}
	s.seen[b.name+"\n"+b.text]++
	b.nth = s.seen[b.name+"\n"+b.text]
	return b
}

// function returns the name of the function with a line.
func (s *source) function(line int) string {
	for _, d := range s.tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || line < s.files.Position(f.Pos()).Line || line > s.files.Position(f.End()).Line {
			continue
		}
		if f.Recv == nil {
			return f.Name.Name
		}
		return "(" + typeName(f.Recv.List[0].Type) + ")." + f.Name.Name
	}
	return "-"
}

func typeName(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.StarExpr:
		return "*" + typeName(t.X)
	case *ast.Ident:
		return t.Name
	case *ast.IndexExpr:
		return typeName(t.X)
	default:
		return "?"
	}
}
