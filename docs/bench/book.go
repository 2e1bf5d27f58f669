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

// figure is what was measured of a row of the table.
type figure struct {
	Value  float64   `json:"value"`
	Low    float64   `json:"low,omitempty"` // over the rounds
	High   float64   `json:"high,omitempty"`
	Rounds int       `json:"rounds,omitempty"`
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
	Where  string    `json:"where"`
}

// book keeps the figures of all runs, so that rows that were not measured this time keep their last figure.
type book struct {
	file, document string
	Figures        map[string]figure `json:"figures"`
	where          string
}

func openBook(file, document string) (*book, error) {
	k := &book{file: file, document: document, Figures: make(map[string]figure), where: machine()}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, k); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return k, nil
}

// note keeps a figure of one or several rounds: their median.
func (b *bench) note(row, detail string, values ...float64) {
	slices.Sort(values)
	f := figure{
		Value: median(values), Low: values[0], High: values[len(values)-1], Rounds: len(values),
		Detail: detail, At: time.Now().UTC().Truncate(time.Second), Where: b.book.where,
	}
	b.book.Figures[row] = f
	b.say("%-28s %8.3g (%.3g to %.3g)  %s", row, f.Value, f.Low, f.High, detail)
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// medianOf is median for values in any order.
func medianOf(values []float64) float64 {
	values = slices.Clone(values)
	slices.Sort(values)
	return median(values)
}

func (k *book) write() error {
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(k.file, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(k.document, k.render(), 0o644)
}
