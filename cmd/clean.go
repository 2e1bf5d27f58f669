package cmd

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text that came from a task, a tenant or another machine must not be able to speak to the terminal: it could
// move the cursor, rewrite what was printed before, or set the clipboard. A cleaner takes out escape sequences,
// control characters, and the invisible ones that reorder or hide text; newlines and tabs stay.
type cleaner struct {
	out   []byte
	part  []byte // the beginning of a rune whose end has not come yet
	state cleanState
	cr    bool // a carriage return came, and it is not known yet whether a newline follows
}

type cleanState int

const (
	inText    cleanState = iota
	inEscape             // after ESC
	inControl            // after CSI, until its final byte
	inString             // after OSC, DCS, SOS, PM or APC, until BEL or ST
)

// clean returns s without anything that a terminal would obey.
func clean(s string) string {
	if plain(s) {
		return s
	}
	var c cleaner
	c.add([]byte(s))
	return string(c.end())
}

// cleanLine is clean for what has to stay on one line.
func cleanLine(s string) string {
	s = clean(s)
	if !strings.ContainsAny(s, "\n\t") {
		return s
	}
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\t' }), " ")
}

// plain is the quick answer for what is almost always so.
func plain(s string) bool {
	for i := range len(s) {
		if b := s[i]; b >= 0x7f || b < ' ' && b != '\n' && b != '\t' {
			return false
		}
	}
	return true
}

// hidden reports whether r shows nothing but acts on a terminal or on the order of text.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\n' && r != '\t'
}

// add cleans b, which goes on where the last one ended.
func (c *cleaner) add(b []byte) {
	if len(c.part) > 0 {
		b = append(c.part, b...)
		c.part = nil
	}
	for len(b) > 0 {
		if !utf8.FullRune(b) {
			c.part = append([]byte(nil), b...)
			return
		}
		r, n := utf8.DecodeRune(b)
		c.rune(r)
		b = b[n:]
	}
}

// end returns what is left and makes the cleaner new.
func (c *cleaner) end() []byte {
	if len(c.part) > 0 {
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
			// A lone return would write over the line: it becomes a new one.
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
		c.inside(r)
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
	case !hidden(r):
		c.out = utf8.AppendRune(c.out, r)
	}
}

func (c *cleaner) escape(r rune) {
	switch {
	case r == '[':
		c.state = inControl
	case r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_':
		c.state = inString
	case r >= 0x20 && r <= 0x2f: // intermediate bytes; the final one is still to come
	case r >= 0x30 && r <= 0x7e:
		c.state = inText
	default:
		c.again(r)
	}
}

func (c *cleaner) control(r rune) {
	switch {
	case r >= 0x20 && r <= 0x3f:
	case r >= 0x40 && r <= 0x7e:
		c.state = inText
	default:
		c.again(r)
	}
}

// inside drops the text of a string sequence. A newline ends it, so that one that is never closed cannot
// swallow the rest of a log.
func (c *cleaner) inside(r rune) {
	switch r {
	case 0x07, 0x9c:
		c.state = inText
	case 0x1b, 0x18, 0x1a, '\n', '\r':
		c.again(r)
	}
}

// again breaks a sequence off and reads r as text.
func (c *cleaner) again(r rune) {
	c.state = inText
	c.text(r)
}

// cleanWriter cleans a stream on its way to w.
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

// Close writes what was held back.
func (w *cleanWriter) Close() error {
	rest := w.c.end()
	if len(rest) == 0 {
		return nil
	}
	_, err := w.w.Write(rest)
	return err
}

// cleanJSON writes the characters of a JSON text that clean would take out as \u escapes: it says the same and
// shows no trick.
func cleanJSON(b []byte) []byte {
	if plain(string(b)) {
		return b
	}
	out := make([]byte, 0, len(b)+32)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			out = append(out, `\ufffd`...)
		case hidden(r):
			out = appendEscaped(out, r)
		default:
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}
