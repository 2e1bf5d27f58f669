package cmd

import (
	"bytes"
	"io"
	"strings"

	"github.com/olekukonko/tablewriter"
)

// table prints items without lines, with two spaces between columns, readable by eye and by awk.
func (l listing[T]) table(p *printer, items []T) error {
	columns := l.visible(p)
	header := make([]string, len(columns))
	align := make([]int, len(columns))
	for i, c := range columns {
		header[i], align[i] = strings.ToUpper(c.name), tablewriter.ALIGN_LEFT
		if c.right {
			align[i] = tablewriter.ALIGN_RIGHT
		}
	}
	var drawn bytes.Buffer
	t := plainTable(&drawn)
	t.SetHeader(header)
	t.SetColumnAlignment(align)
	for _, v := range items {
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = cleanLine(c.cell(p, v))
		}
		t.Append(row)
	}
	t.Render()
	return writeTrimmed(p, drawn.String())
}

func plainTable(w io.Writer) *tablewriter.Table {
	t := tablewriter.NewWriter(w)
	t.SetBorder(false)
	t.SetHeaderLine(false)
	t.SetCenterSeparator("")
	t.SetColumnSeparator("")
	t.SetRowSeparator("")
	t.SetTablePadding("  ")
	t.SetNoWhiteSpace(true)
	t.SetAutoWrapText(false)
	t.SetAutoFormatHeaders(false)
	t.SetHeaderAlignment(tablewriter.ALIGN_LEFT)
	return t
}

// writeTrimmed removes spaces at the ends of lines.
func writeTrimmed(p *printer, s string) error {
	var b strings.Builder
	for l := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(l, " \n"))
		b.WriteByte('\n')
	}
	_, err := p.w.Write([]byte(b.String()))
	return err
}
