package postgres

import (
	"strconv"
	"strings"
)

// where collects the terms of a condition and their values.
type where struct {
	terms []string
	args  []any
}

// arg adds a value and returns its placeholder.
func (w *where) arg(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

func (w *where) add(term string, v any) { w.terms = append(w.terms, term+w.arg(v)) }

func (w *where) clause() string {
	if len(w.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.terms, " AND ")
}
