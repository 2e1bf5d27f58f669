package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// maxPayload bounds the input that is read into memory; daemons accept far less.
const maxPayload = 64 << 20

// readPayload reads a task's payload: JSON text, @file, or - for standard input.
func readPayload(in io.Reader, s string) (json.RawMessage, error) {
	from := "--payload"
	b := []byte(s)
	var err error
	switch {
	case s == "":
		return nil, nil
	case s == "-":
		from = "standard input"
		b, err = readBounded(in)
	case strings.HasPrefix(s, "@"):
		from = s[1:]
		b, err = readFile(from)
	}
	if err != nil {
		return nil, usagef("read the payload: %w", err)
	}
	return checkJSON(from, b)
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	if len(b) > maxPayload {
		err = fmt.Errorf("larger than %d bytes", maxPayload)
	}
	return b, err
}

// checkJSON refuses JSON that the daemon would refuse, and bytes that are not UTF-8, because they would not arrive
// unchanged.
func checkJSON(from string, b []byte) (json.RawMessage, error) {
	e := &cliError{Code: exitUsage, Name: "usage", Err: fmt.Errorf("%s is not UTF-8", from)}
	bad, isSyntax := errors.AsType[*json.SyntaxError](json.Unmarshal(b, new(json.RawMessage)))
	switch {
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		e.Err = fmt.Errorf("%s is not JSON: it begins with a byte order mark", from)
		e.Hint = "Save it as UTF-8 without the mark."
	case !utf8.Valid(b):
	case isSyntax:
		e.Err = fmt.Errorf("%s is not JSON (byte %d): %w", from, bad.Offset, bad)
		e.Hint = `A JSON string needs quotes: --payload '"some text"'.`
	default:
		return b, nil
	}
	return nil, e
}
