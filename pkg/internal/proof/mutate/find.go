package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// finder finds the changes in a function.
type finder struct {
	*source
	*file
	function string
}

// find finds the changes in a file.
func (p *source) find(f *file) {
	for _, d := range f.tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		name := fn.Name.Name
		if fn.Recv != nil {
			name = strings.TrimPrefix(types.ExprString(fn.Recv.List[0].Type), "*") + "." + name
		}
		x := &finder{source: p, file: f, function: name}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			x.node(n)
			return true
		})
	}
}

func (f *finder) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.BlockStmt:
		f.statements(n.List)
	case *ast.CaseClause:
		f.statements(n.Body)
	case *ast.CommClause:
		f.statements(n.Body)
	case *ast.IfStmt:
		f.condition(n.Cond)
	case *ast.ForStmt:
		if n.Cond != nil && !isLogic(n.Cond) {
			f.wrap("never", n.Cond, "(", " && !mutOn(%d))")
		}
	case *ast.SwitchStmt:
		f.cases(n)
	case *ast.ReturnStmt:
		for _, e := range n.Results {
			f.literal(e)
		}
	case *ast.BinaryExpr:
		f.binary(n)
	case *ast.CallExpr:
		f.minMax(n)
	}
}

// cases are the conditions of a switch without a tag.
func (f *finder) cases(s *ast.SwitchStmt) {
	if s.Tag != nil {
		return
	}
	for _, c := range s.Body.List {
		for _, e := range c.(*ast.CaseClause).List {
			f.condition(e)
		}
	}
}

// condition makes a condition always true or false. The operands of && and || are handled as binary expressions.
func (f *finder) condition(e ast.Expr) {
	b, logic := ast.Unparen(e).(*ast.BinaryExpr)
	logic = logic && isLogic(b)
	if !logic || b.Op == token.LOR {
		f.wrap("always", e, "(", " || mutOn(%d))")
	}
	if !logic || b.Op == token.LAND {
		f.wrap("never", e, "(", " && !mutOn(%d))")
	}
}

func isLogic(e ast.Expr) bool {
	b, ok := ast.Unparen(e).(*ast.BinaryExpr)
	return ok && (b.Op == token.LAND || b.Op == token.LOR)
}

func (f *finder) binary(b *ast.BinaryExpr) {
	if f.info.Types[b].Value != nil {
		return // a constant
	}
	x, y := f.textOf(b.X), f.textOf(b.Y)
	switch b.Op {
	case token.LAND:
		f.wrap("always", b.X, "(", " || mutOn(%d))")
		f.wrap("always", b.Y, "(", " || mutOn(%d))")
	case token.LOR:
		f.wrap("never", b.X, "(", " && !mutOn(%d))")
		f.wrap("never", b.Y, "(", " && !mutOn(%d))")
	case token.LSS, token.GTR:
		f.wrap("or equal", b, "(", fmt.Sprintf(" || mutOn(%%d) && (%s) == (%s))", escaped(x), escaped(y)))
	case token.LEQ, token.GEQ:
		f.wrap("not equal", b, "(", fmt.Sprintf(" && !(mutOn(%%d) && (%s) == (%s)))", escaped(x), escaped(y)))
	case token.ADD:
		f.sum(b, "minus", "mutAdd")
	case token.SUB:
		f.sum(b, "plus", "mutSub")
	default:
	}
}

func escaped(s string) string { return strings.ReplaceAll(s, "%", "%%") }

func (f *finder) sum(b *ast.BinaryExpr, kind, call string) {
	if !f.isNumber(b) {
		return
	}
	n := f.change(kind, b)
	at := f.offset(b.OpPos)
	f.put(b.Pos(), b.End(), fmt.Sprintf("%s(%d, ", call, n), ")")
	f.edits = append(f.edits, edit{at: at, to: at + 1, text: ",", seq: len(f.edits)})
}

func (f *finder) isNumber(e ast.Expr) bool {
	t, ok := f.info.Types[e].Type.Underlying().(*types.Basic)
	return ok && t.Info()&types.IsNumeric != 0
}

// minMax swaps min and max.
func (f *finder) minMax(c *ast.CallExpr) {
	id, ok := c.Fun.(*ast.Ident)
	if !ok || len(c.Args) != 2 || f.info.Types[c].Value != nil {
		return
	}
	if _, builtin := f.info.Uses[id].(*types.Builtin); !builtin {
		return
	}
	switch id.Name {
	case "min":
		f.replaceCall(c, "max instead", "mutMin")
	case "max":
		f.replaceCall(c, "min instead", "mutMax")
	}
}

func (f *finder) replaceCall(c *ast.CallExpr, kind, call string) {
	n := f.change(kind, c)
	at, to := f.offset(c.Pos()), f.offset(c.Lparen)+1
	f.edits = append(f.edits, edit{at: at, to: to, text: fmt.Sprintf("%s(%d, ", call, n), other: f.offset(c.End()), seq: len(f.edits)})
}

// literal swaps true and false.
func (f *finder) literal(e ast.Expr) {
	if id, ok := e.(*ast.Ident); ok && (id.Name == "true" || id.Name == "false") {
		f.wrap("the other", e, "(mutOn(%d) != ", ")")
	}
}

// statements leaves out statements.
func (f *finder) statements(list []ast.Stmt) {
	for _, s := range list {
		if f.removable(s) {
			f.wrap("left out", s, "if !mutOn(%d) { ", " }")
		}
	}
}

// removable reports whether the program compiles without a statement, and may behave differently.
func (f *finder) removable(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.ExprStmt:
		c, ok := s.X.(*ast.CallExpr)
		return ok && !f.isPanic(c) && !f.logs(c)
	case *ast.AssignStmt:
		if id, ok := s.Lhs[0].(*ast.Ident); ok && id.Name == "_" && len(s.Lhs) == 1 {
			_, call := s.Rhs[0].(*ast.CallExpr)
			return call
		}
		for _, e := range s.Rhs {
			f.literal(e)
		}
		return s.Tok != token.DEFINE
	case *ast.IncDecStmt, *ast.SendStmt, *ast.GoStmt, *ast.DeferStmt:
		return true
	case *ast.BranchStmt:
		return s.Tok == token.BREAK || s.Tok == token.CONTINUE
	}
	return false
}

func (f *finder) isPanic(c *ast.CallExpr) bool {
	id, ok := c.Fun.(*ast.Ident)
	return ok && id.Name == "panic"
}

// logs reports whether a call writes to the program's log, which does not change its behaviour.
func (f *finder) logs(c *ast.CallExpr) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	return ok && f.info.Selections[s] != nil && strings.HasSuffix(f.info.Selections[s].Recv().String(), "log/slog.Logger")
}

// wrap puts text before and after a node; one of them has a verb for the change's number.
func (f *finder) wrap(kind string, n ast.Node, before, after string) {
	c := f.change(kind, n)
	if strings.Contains(before, "%d") {
		before = fmt.Sprintf(before, c)
	} else {
		after = fmt.Sprintf(after, c)
	}
	f.put(n.Pos(), n.End(), before, after)
}

func (f *finder) put(from, to token.Pos, before, after string) {
	a, b := f.offset(from), f.offset(to)
	f.edits = append(f.edits,
		edit{at: a, to: a, text: before, other: b, seq: len(f.edits)},
		edit{at: b, to: b, text: after, closes: true, other: a, seq: len(f.edits)})
}

func (f *finder) offset(p token.Pos) int { return f.set.Position(p).Offset }

func (f *finder) textOf(n ast.Node) string {
	return string(f.text[f.offset(n.Pos()):f.offset(n.End())])
}

// maxText is how much of the changed text is in a change's name.
const maxText = 80

// change adds a change and returns its number.
func (f *finder) change(kind string, n ast.Node) int {
	text := strings.Join(strings.Fields(f.textOf(n)), " ")
	if r := []rune(text); len(r) > maxText {
		text = string(r[:maxText]) + "…"
	}
	name := fmt.Sprintf("%s/%s %s: %s: %s", strings.TrimPrefix(f.path, "./"), f.name, f.function, kind, text)
	f.nameCounts[name]++
	if k := f.nameCounts[name]; k > 1 {
		name = fmt.Sprintf("%s (%d)", name, k)
	}
	c := &change{number: len(f.changes), name: name}
	f.changes = append(f.changes, c)
	return c.number
}
