package cmd

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cleaner makes text of a task, a tenant or another machine safe for a terminal. Control sequences could move the
// cursor, overwrite earlier output, or set the clipboard. It removes escape sequences, control characters, and
// invisible characters that reorder or hide text; newlines and tabs stay.
type cleaner struct {
	out     []byte
	partial []byte // an incomplete rune at the end of the input
	state   cleanState
	cr      bool // after a carriage return, until the next rune tells whether a newline follows
}

type cleanState int

const (
	inText    cleanState = iota
	inEscape             // after ESC
	inControl            // after CSI, until its final byte
	inString             // after OSC, DCS, SOS, PM or APC, until BEL or ST
)

// clean returns s without control sequences.
func clean(s string) string {
	if isPlain(s) {
		return s
	}
	var c cleaner
	c.add([]byte(s))
	return string(c.end())
}

// cleanLine is clean for text that must stay on one line.
func cleanLine(s string) string {
	s = clean(s)
	if !strings.ContainsAny(s, "\n\t") {
		return s
	}
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\t' }), " ")
}

// isPlain reports whether s needs no cleaning; it is fast.
func isPlain(s string) bool {
	for i := range len(s) {
		if b := s[i]; b >= 0x7f || b < ' ' && b != '\n' && b != '\t' {
			return false
		}
	}
	return true
}

// isHidden reports whether r is invisible but affects a terminal or the order of text.
func isHidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\n' && r != '\t'
}

// add cleans b, the next part of the input.
func (c *cleaner) add(b []byte) {
	if len(c.partial) > 0 {
		b = append(c.partial, b...)
		c.partial = nil
	}
	for len(b) > 0 {
		if !utf8.FullRune(b) {
			c.partial = append([]byte(nil), b...)
			return
		}
		r, n := utf8.DecodeRune(b)
		c.rune(r)
		b = b[n:]
	}
}

// end returns the rest and resets the cleaner.
func (c *cleaner) end() []byte {
	if len(c.partial) > 0 {
		c.rune(utf8.RuneError)
	}
	out := c.out
	*c = cleaner{}
	return out
}

func (c *cleaner) rune(r rune) {
	if c.cr {
		c.cr = false
		if r != '\n' {
			// A lone carriage return would overwrite the line: it becomes a newline.
			c.out = append(c.out, '\n')
		}
	}
	switch c.state {
	case inText:
		c.text(r)
	case inEscape:
		c.escape(r)
	case inControl:
		c.control(r)
	case inString:
		c.skipString(r)
	}
}

func (c *cleaner) text(r rune) {
	switch {
	case r == 0x1b:
		c.state = inEscape
	case r == 0x9b:
		c.state = inControl
	case r == 0x90 || r == 0x98 || r == 0x9d || r == 0x9e || r == 0x9f:
		c.state = inString
	case r == '\r':
		c.cr = true
	case !isHidden(r):
		c.out = utf8.AppendRune(c.out, r)
	}
}

func (c *cleaner) escape(r rune) {
	switch {
	case r == '[':
		c.state = inControl
	case r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_':
		c.state = inString
	case r >= 0x20 && r <= 0x2f: // an intermediate byte; the final one follows
	case r >= 0x30 && r <= 0x7e:
		c.state = inText
	default:
		c.restart(r)
	}
}

func (c *cleaner) control(r rune) {
	switch {
	case r >= 0x20 && r <= 0x3f:
	case r >= 0x40 && r <= 0x7e:
		c.state = inText
	default:
		c.restart(r)
	}
}

// skipString drops the text of a string sequence. A newline ends the sequence, so that an unterminated one cannot
// swallow the rest of a log.
func (c *cleaner) skipString(r rune) {
	switch r {
	case 0x07, 0x9c:
		c.state = inText
	case 0x1b, 0x18, 0x1a, '\n', '\r':
		c.restart(r)
	}
}

// restart ends a sequence and reads r as text.
func (c *cleaner) restart(r rune) {
	c.state = inText
	c.text(r)
}

// cleanWriter cleans a stream and writes it to w.
type cleanWriter struct {
	w io.Writer
	c cleaner
}

// Write implements [io.Writer].
func (w *cleanWriter) Write(b []byte) (int, error) {
	w.c.add(b)
	if len(w.c.out) > 0 {
		if _, err := w.w.Write(w.c.out); err != nil {
			return 0, err
		}
		w.c.out = w.c.out[:0]
	}
	return len(b), nil
}

// Close writes the rest.
func (w *cleanWriter) Close() error {
	rest := w.c.end()
	if len(rest) == 0 {
		return nil
	}
	_, err := w.w.Write(rest)
	return err
}

// cleanJSON replaces the characters in a JSON text that clean would remove by \u escapes, which keeps its meaning.
func cleanJSON(b []byte) []byte {
	if isPlain(string(b)) {
		return b
	}
	out := make([]byte, 0, len(b)+32)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			out = append(out, `\ufffd`...)
		case isHidden(r):
			out = appendEscaped(out, r)
		default:
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}
