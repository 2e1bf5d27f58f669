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

// EnvBug is the environment variable that selects the bug in a program that was built with an overlay of [Together].
const EnvBug = "PARKD_PLANTED_BUG"

// Together is [Bug.Overlay] for many bugs at once, so that one program is built for all of them: it has no bug until
// the environment variable [EnvBug] names one. Each function that a bug changes exists once more for that bug. Bugs
// that change anything but functions are returned and must be built alone.
func Together(bugs []Bug, root, scratch string) (overlayPath string, alone []Bug, err error) {
	files := make(map[string]*switchedFile)
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
			fits = fits && files[name] != nil && files[name].canSwitch(patched[name])
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
			"package %s\n\nimport \"os\"\n\nvar plantedBug = os.Getenv(%q)\n", c.original.ast.Name, EnvBug)
	}
	overlayPath, err = overlay(root, filepath.Join(scratch, "together"), texts)
	return overlayPath, alone, err
}

// source is a Go file.
type source struct {
	text  string
	fset  *token.FileSet
	ast   *ast.File
	funcs map[string]*ast.FuncDecl // by receiver and name
	other map[string]bool          // the texts of declarations other than functions and imports
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

// signature returns the text of a function before its body.
func (s *source) signature(f *ast.FuncDecl) string { return s.between(f.Pos(), f.Body.Lbrace) }

// switchedFile is a file whose functions choose their behaviour by the selected bug.
type switchedFile struct {
	original *source
	changed  map[string][]string // the bugs that change a function, by its key
	added    bytes.Buffer        // appended at the end
	imports  map[string]bool     // in addition to the file's own
}

func newChoice(root, name string) (*switchedFile, error) {
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return nil, err
	}
	was, err := parseSource(name, string(text))
	return &switchedFile{original: was, changed: make(map[string][]string), imports: make(map[string]bool)}, err
}

// canSwitch reports whether a patched file differs only in the bodies of plain functions, and in new functions.
func (c *switchedFile) canSwitch(text string) bool {
	is, err := parseSource("", text)
	if err != nil || !maps.Equal(is.other, c.original.other) {
		return false
	}
	for key, was := range c.original.funcs {
		f := is.funcs[key]
		if f == nil || is.signature(f) != c.original.signature(was) || was.Type.TypeParams != nil && is.body(f) != c.original.body(was) {
			return false
		}
	}
	return true
}

func (c *switchedFile) add(bug, text string) {
	is, err := parseSource("", text)
	if err != nil {
		return // canSwitch has checked it
	}
	for _, i := range is.ast.Imports {
		c.imports[is.between(i.Pos(), i.End())] = true
	}
	for _, key := range slices.Sorted(maps.Keys(is.funcs)) {
		f := is.funcs[key]
		was := c.original.funcs[key]
		switch {
		case was == nil:
			fmt.Fprintf(&c.added, "\n%s\n", is.between(f.Pos(), f.End()))
		case is.body(f) != c.original.body(was):
			c.changed[key] = append(c.changed[key], bug)
			fmt.Fprintf(&c.added, "\n%s%s\n", renamedHead(is, f, bug), is.body(f))
		}
	}
}

func renamedHead(s *source, f *ast.FuncDecl, bug string) string {
	return s.between(f.Pos(), f.Name.Pos()) + variant(f, bug) + s.between(f.Name.End(), f.Body.Lbrace)
}

// variant returns the name of a function with a bug; "" means none.
func variant(f *ast.FuncDecl, bug string) string { return f.Name.Name + "_planted_" + bug }

// text returns the file.
func (c *switchedFile) text() string {
	s := c.original
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
		b.WriteString(c.switchFunc(f) + "\n\n" + renamedHead(s, f, "") + s.body(f))
		done = s.at(f.End())
	}
	return b.String() + s.text[done:] + c.added.String()
}

// switchFunc returns the function with the original name, which calls the variant of the selected bug.
func (c *switchedFile) switchFunc(f *ast.FuncDecl) string {
	s := c.original
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
