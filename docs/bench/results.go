package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// figure is the measured value of a row of the table.
type figure struct {
	Value  float64   `json:"value"`
	Low    float64   `json:"low,omitempty"` // over the rounds
	High   float64   `json:"high,omitempty"`
	Rounds int       `json:"rounds,omitempty"`
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
	Where  string    `json:"where"`
}

// results has the figures of all runs. A row that is not measured in a run keeps its last figure.
type results struct {
	file, document string
	Figures        map[string]figure `json:"figures"`
	where          string
}

func openResults(file, document string) (*results, error) {
	r := &results{file: file, document: document, Figures: make(map[string]figure), where: describeMachine()}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// record keeps the median of the values of all rounds as the figure of a row.
func (b *bench) record(row, detail string, values ...float64) {
	slices.Sort(values)
	f := figure{
		Value: median(values), Low: values[0], High: values[len(values)-1], Rounds: len(values),
		Detail: detail, At: time.Now().UTC().Truncate(time.Second), Where: b.results.where,
	}
	b.results.Figures[row] = f
	b.logf("%-28s %8.3g (%.3g to %.3g)  %s", row, f.Value, f.Low, f.High, detail)
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// medianOf returns the median of values in any order.
func medianOf(values []float64) float64 {
	values = slices.Clone(values)
	slices.Sort(values)
	return median(values)
}

func (r *results) write() error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.file, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(r.document, r.render(), 0o644)
}
