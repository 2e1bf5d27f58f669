package planted

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// EnvBug names the bug that a program has which was built with an overlay of [Together].
const EnvBug = "PARKD_PLANTED_BUG"

// Together is [Bug.Overlay] for many bugs at once, so that a program is built once for all of them: it has none until
// the environment variable [EnvBug] names one. Each function that a bug changes is there once more for it. Those that
// change something else than functions are returned: they must be built alone.
func Together(bugs []Bug, root, scratch string) (overlayPath string, alone []Bug, err error) {
	files := make(map[string]*choice)
	for _, b := range bugs {
		patched, err := b.Patched(root)
		if err != nil {
			return "", nil, err
		}
		fits := !b.Alone
		for _, name := range slices.Sorted(maps.Keys(patched)) {
			if files[name] == nil && strings.HasSuffix(name, ".go") {
				if files[name], err = newChoice(root, name); err != nil {
					return "", nil, err
				}
			}
			fits = fits && files[name] != nil && files[name].takes(patched[name])
		}
		if !fits {
			alone = append(alone, b)
			continue
		}
		for name, text := range patched {
			files[name].add(b.Name, text)
		}
	}
	texts := make(map[string]string)
	for name, c := range files {
		texts[name] = c.text()
		texts[path.Join(path.Dir(name), "planted_switch.go")] = fmt.Sprintf(
			"package %s\n\nimport \"os\"\n\nvar plantedBug = os.Getenv(%q)\n", c.was.ast.Name, EnvBug)
	}
	overlayPath, err = overlay(root, filepath.Join(scratch, "together"), texts)
	return overlayPath, alone, err
}

// source is a file of Go.
type source struct {
	text  string
	fset  *token.FileSet
	ast   *ast.File
	funcs map[string]*ast.FuncDecl // by receiver and name
	other map[string]bool          // the texts of what is neither function nor import
}

func parseSource(name, text string) (*source, error) {
	s := &source{text: text, fset: token.NewFileSet(), funcs: make(map[string]*ast.FuncDecl), other: make(map[string]bool)}
	var err error
	if s.ast, err = parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		return nil, err
	}
	for _, d := range s.ast.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			s.funcs[s.key(f)] = f
		} else if d.(*ast.GenDecl).Tok != token.IMPORT {
			s.other[s.between(d.Pos(), d.End())] = true
		}
	}
	return s, nil
}

func (s *source) key(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return s.between(f.Recv.List[0].Type.Pos(), f.Recv.List[0].Type.End()) + "." + f.Name.Name
}

func (s *source) at(p token.Pos) int { return s.fset.Position(p).Offset }

func (s *source) between(from, to token.Pos) string { return s.text[s.at(from):s.at(to)] }

func (s *source) body(f *ast.FuncDecl) string { return s.between(f.Body.Lbrace, f.Body.End()) }

// head is what a function is called by.
func (s *source) head(f *ast.FuncDecl) string { return s.between(f.Pos(), f.Body.Lbrace) }

// choice is a file in which functions choose what they do by the bug that is named.
type choice struct {
	was     *source
	changed map[string][]string // the bugs that change a function, by its key
	more    bytes.Buffer        // what is added at the end
	imports map[string]bool     // beside those that are there
}

func newChoice(root, name string) (*choice, error) {
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return nil, err
	}
	was, err := parseSource(name, string(text))
	return &choice{was: was, changed: make(map[string][]string), imports: make(map[string]bool)}, err
}

// takes reports whether a patched file differs in the bodies of plain functions alone, and in functions that are new.
func (c *choice) takes(text string) bool {
	is, err := parseSource("", text)
	if err != nil || !maps.Equal(is.other, c.was.other) {
		return false
	}
	for key, was := range c.was.funcs {
		f := is.funcs[key]
		if f == nil || is.head(f) != c.was.head(was) || was.Type.TypeParams != nil && is.body(f) != c.was.body(was) {
			return false
		}
	}
	return true
}

func (c *choice) add(bug, text string) {
	is, err := parseSource("", text)
	if err != nil {
		return // takes has said so
	}
	for _, i := range is.ast.Imports {
		c.imports[is.between(i.Pos(), i.End())] = true
	}
	for _, key := range slices.Sorted(maps.Keys(is.funcs)) {
		f := is.funcs[key]
		was := c.was.funcs[key]
		switch {
		case was == nil:
			fmt.Fprintf(&c.more, "\n%s\n", is.between(f.Pos(), f.End()))
		case is.body(f) != c.was.body(was):
			c.changed[key] = append(c.changed[key], bug)
			fmt.Fprintf(&c.more, "\n%s%s\n", renamed(is, f, bug), is.body(f))
		}
	}
}

func renamed(s *source, f *ast.FuncDecl, bug string) string {
	return s.between(f.Pos(), f.Name.Pos()) + variant(f, bug) + s.between(f.Name.End(), f.Body.Lbrace)
}

// variant is the name of a function with a bug; "" stands for none.
func variant(f *ast.FuncDecl, bug string) string { return f.Name.Name + "_planted_" + bug }

// text returns the file.
func (c *choice) text() string {
	s := c.was
	var b strings.Builder
	done := s.at(s.ast.Name.End())
	b.WriteString(s.text[:done])
	for _, i := range s.ast.Imports {
		delete(c.imports, s.between(i.Pos(), i.End()))
	}
	for _, i := range slices.Sorted(maps.Keys(c.imports)) {
		b.WriteString("; import " + i)
	}
	for _, d := range s.ast.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || c.changed[s.key(f)] == nil {
			continue
		}
		b.WriteString(s.text[done:s.at(f.Pos())])
		b.WriteString(c.chooser(f) + "\n\n" + renamed(s, f, "") + s.body(f))
		done = s.at(f.End())
	}
	return b.String() + s.text[done:] + c.more.String()
}

// chooser returns the function that has the old name, and calls one of those that do the work.
func (c *choice) chooser(f *ast.FuncDecl) string {
	s := c.was
	var head, args []string
	for _, p := range f.Type.Params.List {
		t := s.between(p.Type.Pos(), p.Type.End())
		for range max(len(p.Names), 1) {
			name := fmt.Sprintf("planted%d", len(args))
			head = append(head, name+" "+t)
			if strings.HasPrefix(t, "...") {
				name += "..."
			}
			args = append(args, name)
		}
	}
	of, recv := "", ""
	if f.Recv != nil {
		of, recv = "planted.", "(planted "+s.between(f.Recv.List[0].Type.Pos(), f.Recv.List[0].Type.End())+") "
	}
	call := func(bug string) string {
		call := of + variant(f, bug) + "(" + strings.Join(args, ", ") + ")"
		if f.Type.Results == nil {
			return call + "; return"
		}
		return "return " + call
	}
	var b strings.Builder
	fmt.Fprintf(&b, "func %s%s(%s)%s{ switch plantedBug {", recv, f.Name.Name, strings.Join(head, ", "), s.between(f.Type.Params.End(), f.Body.Lbrace))
	for _, bug := range c.changed[s.key(f)] {
		fmt.Fprintf(&b, " case %q: %s;", bug, call(bug))
	}
	return b.String() + " }; " + call("") + " }"
}
