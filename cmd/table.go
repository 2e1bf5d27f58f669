package cmd

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// table draws items without lines: two spaces between columns, as tools that are read by eye and by awk do.
func (l listing[T]) table(p *printer, items []T) error {
	columns := l.shown(p)
	header := make([]string, len(columns))
	align := make([]tw.Align, len(columns))
	for i, c := range columns {
		header[i], align[i] = strings.ToUpper(c.name), tw.AlignLeft
		if c.right {
			align[i] = tw.AlignRight
		}
	}
	var drawn bytes.Buffer
	t := tablewriter.NewTable(&drawn, plainTable(align)...)
	t.Header(header)
	for _, v := range items {
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = cleanLine(c.cell(p, v))
		}
		if err := t.Append(row); err != nil {
			return fmt.Errorf("draw table: %w", err)
		}
	}
	if err := t.Render(); err != nil {
		return fmt.Errorf("draw table: %w", err)
	}
	return writeTrimmed(p, drawn.String())
}

func plainTable(align []tw.Align) []tablewriter.Option {
	padding := tw.Padding{Left: tw.Empty, Right: "  ", Overwrite: true}
	cells := tw.CellConfig{
		Formatting: tw.CellFormatting{AutoWrap: tw.WrapNone, AutoFormat: tw.Off},
		Padding:    tw.CellPadding{Global: padding},
		Alignment:  tw.CellAlignment{PerColumn: align},
	}
	return []tablewriter.Option{
		tablewriter.WithConfig(tablewriter.Config{Header: cells, Row: cells}),
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders:  tw.BorderNone,
			Symbols:  tw.NewSymbols(tw.StyleNone),
			Settings: tw.Settings{Lines: tw.LinesNone, Separators: tw.SeparatorsNone},
		})),
	}
}

// writeTrimmed leaves out the blanks at the ends of lines.
func writeTrimmed(p *printer, s string) error {
	var b strings.Builder
	for l := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(l, " \n"))
		b.WriteByte('\n')
	}
	_, err := p.w.Write([]byte(b.String()))
	return err
}
