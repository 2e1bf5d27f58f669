package loadtest

// The plots of the report: from values to coordinates on a canvas of fixed size.

import (
	"math"
	"strconv"
	"strings"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
)

// The canvas of a plot, and the margins in which the labels stand.
const (
	plotWidth  = 560.0
	plotHeight = 220.0
	plotLeft   = 52.0
	plotRight  = 12.0
	plotTop    = 14.0
	plotBottom = 28.0
)

// mark is a label at a place on an axis.
type mark struct {
	At    float64
	Label string
}

// axis maps values from 0 up to a round number to places on the canvas.
type axis struct {
	Marks    []mark
	most     float64
	from, to float64
}

func (a *axis) place(v float64) float64 { return a.from + v/a.most*(a.to-a.from) }

// newAxis returns an axis on which most has its place, with about so many marks at round numbers. It ends at
// the mark after most, or, when it is tight, at most itself.
func newAxis(most, from, to float64, marks int, tight bool) axis {
	step := roundStep(most / float64(marks))
	a := axis{from: from, to: to, most: max(step, math.Ceil(most/step)*step)}
	if tight {
		a.most = most
	}
	for i := 0; float64(i)*step <= a.most*1.0001; i++ {
		v := float64(i) * step
		a.Marks = append(a.Marks, mark{a.place(v), shortNumber(v)})
	}
	return a
}

// roundStep returns the next 1, 2 or 5 times a power of ten.
func roundStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*p >= v*0.9999 {
			return f * p
		}
	}
	return 10 * p
}

// shortNumber writes a number with three digits: 1.2k, 35, 0.05.
func shortNumber(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 1e4:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	case v >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// timePlot is a quantity over time, as a line of steps above a filled area.
type timePlot struct {
	Name, Unit string
	X, Y       axis
	Line, Area string
	HasLimit   bool
	Limit      string  // the line of the capacity
	Points     []point // for the pointer
}

type point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
	S float64 `json:"s"` // seconds
	V int64   `json:"v"`
}

// overTime plots a value of the samples; limit gives the line above which it must not go, nil for none.
func overTime(name, unit string, samples []replay.Sample, value, limit func(*replay.Sample) int64) timePlot {
	p := timePlot{Name: name, Unit: unit}
	var most, span float64
	for i := range samples {
		most = max(most, float64(value(&samples[i])))
		if limit != nil {
			most = max(most, float64(limit(&samples[i])))
		}
		span = samples[i].At.Sub(samples[0].At.Time).Seconds()
	}
	p.X = newAxis(max(span, 0.001), plotLeft, plotWidth-plotRight, 6, true)
	p.Y = newAxis(max(most, 1), plotHeight-plotBottom, plotTop, 4, false)
	var line, edge steps
	for i := range samples {
		s := samples[i].At.Sub(samples[0].At.Time).Seconds()
		x, y := p.X.place(s), p.Y.place(float64(value(&samples[i])))
		line.to(x, y)
		p.Points = append(p.Points, point{round1(x), round1(y), round3(s), value(&samples[i])})
		if limit != nil {
			edge.to(x, p.Y.place(float64(limit(&samples[i]))))
		}
	}
	p.Line = line.String()
	if len(samples) > 0 {
		p.Area = p.Line + "V" + number(p.Y.place(0)) + "H" + number(p.X.place(0)) + "Z"
	}
	if limit != nil && len(samples) > 0 {
		p.HasLimit, p.Limit = true, edge.String()
	}
	return p
}

// steps is the path of a value that keeps what it was until it changes.
type steps struct {
	strings.Builder
	begun bool
}

func (s *steps) to(x, y float64) {
	if !s.begun {
		s.WriteString("M" + number(x) + " " + number(y))
		s.begun = true
		return
	}
	s.WriteString("H" + number(x) + "V" + number(y))
}

func number(v float64) string  { return strconv.FormatFloat(round1(v), 'f', -1, 64) }
func round1(v float64) float64 { return math.Round(v*10) / 10 }
func round3(v float64) float64 { return math.Round(v*1000) / 1000 }

// barPlot is a histogram.
type barPlot struct {
	Y    axis
	Bars []bar
	Edge float64 // where the promised time ends
}

type bar struct {
	X, Y, Width, Height, Middle float64
	Label, Title                string
	Late                        bool // beyond the promised time
}

// histogram plots bins, all equally wide.
func histogram(bins []Bin, promisedMs float64) barPlot {
	var most int64
	for _, b := range bins {
		most = max(most, b.Count)
	}
	p := barPlot{Y: newAxis(float64(max(most, 1)), plotHeight-plotBottom, plotTop, 4, false)}
	width := (plotWidth - plotLeft - plotRight) / float64(max(len(bins), 1))
	for i, b := range bins {
		x, y := plotLeft+float64(i)*width, p.Y.place(float64(b.Count))
		label, title := "<"+binEdge(b.To), millisText(b.From)+" to "+millisText(b.To)
		if b.To == 0 {
			label, title = "≥"+binEdge(b.From), millisText(b.From)+" and more"
		}
		p.Bars = append(p.Bars, bar{
			X: x + 1, Y: y, Width: width - 2, Height: p.Y.place(0) - y, Middle: x + width/2,
			Label: label, Title: title + ": " + strconv.FormatInt(b.Count, 10), Late: b.From >= promisedMs,
		})
		if b.From == promisedMs {
			p.Edge = x
		}
	}
	return p
}

// binEdge writes milliseconds as briefly as the axis needs it.
func binEdge(ms float64) string {
	if ms >= 1000 {
		return strconv.FormatFloat(ms/1000, 'g', 3, 64) + "s"
	}
	return strconv.FormatFloat(ms, 'g', 3, 64)
}

// strip is a distribution of times on a common logarithmic scale.
type strip struct {
	Name, Note                string
	Q                         Quantiles
	Y, P50, P95, P99, Max, To float64
}

const stripHeight = 44.0

// stripsOf places distributions below each other, and returns the marks of their scale, in milliseconds.
func stripsOf(all []strip) ([]strip, []mark) {
	most := 10.0
	for _, s := range all {
		most = max(most, s.Q.Max)
	}
	const least = 0.01
	decades := math.Ceil(math.Log10(most / least))
	left, right := 150.0, plotWidth-plotRight-20
	place := func(ms float64) float64 {
		return left + math.Log10(max(ms, least)/least)/decades*(right-left)
	}
	for i := range all {
		s := &all[i]
		s.Y = 20 + float64(i)*stripHeight
		s.P50, s.P95, s.P99, s.Max = place(s.Q.P50), place(s.Q.P95), place(s.Q.P99), place(s.Q.Max)
		s.To = s.Max - s.P50
	}
	var marks []mark
	for d := range int(decades) + 1 {
		v := least * math.Pow(10, float64(d))
		marks = append(marks, mark{place(v), millisText(v)})
	}
	return all, marks
}

// millisText writes milliseconds with a unit that suits them.
func millisText(ms float64) string {
	switch {
	case ms >= 1000:
		return strconv.FormatFloat(ms/1000, 'g', 3, 64) + " s"
	case ms >= 1 || ms == 0:
		return strconv.FormatFloat(ms, 'g', 3, 64) + " ms"
	}
	return strconv.FormatFloat(ms*1000, 'g', 3, 64) + " µs"
}
