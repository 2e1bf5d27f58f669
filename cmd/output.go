package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/park"
)

// format is an output format.
type format string

const (
	asTable  format = "table"
	asWide   format = "wide"
	asJSON   format = "json"
	asNDJSON format = "ndjson"
	asID     format = "id"
)

func formats() []string {
	return []string{string(asTable), string(asWide), string(asJSON), string(asNDJSON), string(asID)}
}

// Set implements [pflag.Value].
func (f *format) Set(s string) error {
	if !slices.Contains(formats(), s) {
		return fmt.Errorf("must be one of %s", strings.Join(formats(), ", "))
	}
	*f = format(s)
	return nil
}

// String implements [pflag.Value].
func (f *format) String() string { return string(*f) }

// Type implements [pflag.Value].
func (f *format) Type() string { return "format" }

// forPeople reports whether the output is for people and not for programs.
func (f format) forPeople() bool { return f == asTable || f == asWide }

// printer prints data in a format.
type printer struct {
	w      io.Writer
	format format
	now    func() time.Time
}

// json prints v as JSON: on one line for ndjson, else on several.
func (p *printer) json(v any) error {
	var b []byte
	var err error
	if p.format == asNDJSON {
		b, err = json.Marshal(v)
	} else {
		b, err = json.MarshalIndent(v, "", "  ")
	}
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	_, err = p.w.Write(append(cleanJSON(b), '\n'))
	return err
}

// line prints v as one line of JSON in any format; streams use it.
func (p *printer) line(v any) error {
	lines := *p
	lines.format = asNDJSON
	return lines.json(v)
}

func appendEscaped(out []byte, r rune) []byte {
	if r > 0xffff {
		hi, lo := utf16.EncodeRune(r)
		return fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
	}
	return fmt.Appendf(out, `\u%04x`, r)
}

// column is a column of a table of Ts.
type column[T any] struct {
	name  string
	cell  func(p *printer, v T) string
	wide  bool // only with -o wide
	right bool
	width int // in a stream, whose later rows are not known yet
}

// listing describes how Ts are printed.
type listing[T any] struct {
	columns []column[T]
	id      func(T) string
}

// print prints items; page is their form for -o json.
func (l listing[T]) print(p *printer, page any, items []T) error {
	switch p.format {
	case asJSON:
		return p.json(page)
	case asNDJSON:
		for _, v := range items {
			if err := p.json(v); err != nil {
				return err
			}
		}
		return nil
	case asID:
		for _, v := range items {
			if _, err := fmt.Fprintln(p.w, cleanLine(l.id(v))); err != nil {
				return err
			}
		}
		return nil
	case asTable, asWide:
	}
	return l.table(p, items)
}

// printOne prints a single item; for -o json as itself and not as a list.
func (l listing[T]) printOne(p *printer, v T) error { return l.print(p, v, []T{v}) }

// visible returns the columns of the format.
func (l listing[T]) visible(p *printer) []column[T] {
	return slices.DeleteFunc(slices.Clone(l.columns), func(c column[T]) bool { return c.wide && p.format != asWide })
}

// stream prints items one by one.
type stream[T any] struct {
	p       *printer
	list    listing[T]
	columns []column[T]
}

func newStream[T any](p *printer, l listing[T]) *stream[T] {
	return &stream[T]{p: p, list: l}
}

func (s *stream[T]) print(v T) error {
	switch s.p.format {
	case asJSON, asNDJSON:
		return s.p.line(v)
	case asID:
		return s.list.printOne(s.p, v)
	case asTable, asWide:
	}
	if s.columns == nil {
		s.columns = s.list.visible(s.p)
		// Later rows are likely as wide as the first.
		for i, c := range s.columns {
			s.columns[i].width = max(c.width, len(c.name), utf8.RuneCountInString(cleanLine(c.cell(s.p, v))))
		}
		if err := s.row(func(c column[T]) string { return strings.ToUpper(c.name) }); err != nil {
			return err
		}
	}
	return s.row(func(c column[T]) string { return cleanLine(c.cell(s.p, v)) })
}

func (s *stream[T]) row(cell func(column[T]) string) error {
	var b strings.Builder
	for i, c := range s.columns {
		if i > 0 {
			b.WriteString("  ")
		}
		if c.right {
			fmt.Fprintf(&b, "%*s", c.width, cell(c))
		} else {
			fmt.Fprintf(&b, "%-*s", c.width, cell(c))
		}
	}
	_, err := fmt.Fprintln(s.p.w, strings.TrimRight(b.String(), " "))
	return err
}

// when prints a time, in a table relative to now.
func (p *printer) when(t park.Time) string {
	switch {
	case t.IsZero():
		return ""
	case p.format != asTable:
		return t.String()
	}
	d := p.now().Sub(t.Time)
	if d < 0 {
		return "in " + formatDuration(-d)
	}
	return formatDuration(d) + " ago"
}

// clock prints the time of day, with the date if it is not today.
func (p *printer) clock(t park.Time) string {
	if p.format != asTable {
		return t.String()
	}
	now, at := p.now().Local(), t.Local()
	if now.YearDay() == at.YearDay() && now.Year() == at.Year() {
		return at.Format("15:04:05.000")
	}
	return at.Format("01-02 15:04:05")
}

// formatDuration prints a duration with its two largest units.
func formatDuration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// truncate shortens a cell's text in a table.
func (p *printer) truncate(s string, limit int) string {
	r := []rune(cleanLine(s))
	if p.format != asTable || len(r) <= limit {
		return string(r)
	}
	return string(r[:limit-1]) + "…"
}

// compact prints JSON in a cell, on one line.
func (p *printer) compact(raw json.RawMessage, limit int) string {
	return p.truncate(string(raw), limit)
}
