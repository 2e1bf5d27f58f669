package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxPayload bounds what is read into memory; daemons take far less.
const maxPayload = 64 << 20

// readPayload reads a task's payload: JSON as it stands, @file, or - for standard input.
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
		err = fmt.Errorf("it has more than %d bytes", maxPayload)
	}
	return b, err
}

func checkJSON(from string, b []byte) (json.RawMessage, error) {
	var v any
	err := json.Unmarshal(b, &v)
	if err == nil {
		return b, nil
	}
	at := ""
	if bad, ok := errors.AsType[*json.SyntaxError](err); ok && bad.Offset > 0 {
		at = fmt.Sprintf(" at byte %d", bad.Offset)
	}
	return nil, &exit{
		Code: exitUsage, Name: "usage", Err: fmt.Errorf("%s is not JSON%s: %w", from, at, err),
		Hint: `A text is JSON with quotes around it: --payload '"some text"'.`,
	}
}
