package proof

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
)

// Line is the line of a campaign in the log.
type Line struct {
	Campaign string
	Form     string
	Counts   map[string]int64
	Targets  map[string]int64
	Broken   int
	Seconds  float64
	Seeds    []string
	Notes    []string
	Skipped  string // why it could not run on this machine; "" if it ran
	// Interrupted means that the campaign was ended early.
	Interrupted bool
	At          string // when it ended, in RFC 3339
}

// lineFields are the fields of a line that are not counts.
type lineFields struct {
	Campaign string           `json:"campaign"`
	Form     string           `json:"form,omitempty"`
	Asked    map[string]int64 `json:"asked,omitempty"`
	Broken   int              `json:"broken"`
	Seconds  float64          `json:"seconds"`
	Seeds    []string         `json:"seeds,omitempty"`
	Notes    []string         `json:"notes,omitempty"`
	Skipped  string           `json:"skipped,omitempty"`

	Interrupted bool   `json:"interrupted,omitempty"`
	At          string `json:"at,omitempty"`
}

// MarshalJSON writes the counts beside the other fields.
func (l *Line) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(lineFields{l.Campaign, l.Form, l.Targets, l.Broken, l.Seconds, l.Seeds, l.Notes, l.Skipped, l.Interrupted, l.At})
	if err != nil {
		return nil, err
	}
	all := make(map[string]any)
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	for what, n := range l.Counts {
		if _, taken := all[what]; taken {
			return nil, fmt.Errorf("a count must not be called %q", what)
		}
		all[what] = n
	}
	return json.Marshal(all)
}

// UnmarshalJSON takes every other number for a count.
func (l *Line) UnmarshalJSON(b []byte) error {
	var f lineFields
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*l = Line{f.Campaign, f.Form, nil, f.Asked, f.Broken, f.Seconds, f.Seeds, f.Notes, f.Skipped, f.Interrupted, f.At}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return name == "broken" || name == "seconds" })
	for name, v := range all {
		var n int64
		if json.Unmarshal(v, &n) != nil {
			continue
		}
		if l.Counts == nil {
			l.Counts = make(map[string]int64)
		}
		l.Counts[name] = n
	}
	return nil
}

// Read reads a log. It skips a last line that was cut off.
func Read(r io.Reader) ([]Line, error) {
	var lines []Line
	in := bufio.NewReader(r)
	for {
		b, err := in.ReadBytes('\n')
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return nil, err
		}
		var l Line
		if err := json.Unmarshal(b, &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		lines = append(lines, l)
	}
}
