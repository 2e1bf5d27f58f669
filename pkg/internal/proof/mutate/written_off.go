package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// readWrittenOff reads the changes that cannot be noticed. A line that begins with # is the reason for the changes
// after it.
func readWrittenOff(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read what is written off: %w", err)
	}
	off := map[string]string{}
	reason := ""
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "#"):
			reason = strings.TrimSpace(strings.TrimPrefix(line, "#"))
		case reason == "":
			return nil, errors.New(path + ": a change without a reason: " + line)
		default:
			off[line] = reason
		}
	}
	return off, nil
}
