package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// room is the share of the machine that a campaign needs. The zero value is for one that mostly waits.
type room int

const (
	little room = iota // mostly waits: for processes, servers, limits
	half               // computes, on one processor
	whole              // computes on all processors; others would slow it down
)

// units returns how many of 2*jobs units a campaign takes.
func (r room) units(jobs int) int64 {
	switch {
	case r == whole || jobs == 1:
		return int64(2 * jobs)
	case r == half:
		return 2
	default:
		return 1
	}
}

// programme is a run of campaigns.
type programme struct {
	*options
	builder *builder
}

// runAll runs the campaigns and returns those that prove nothing, with reasons.
func runAll(ctx context.Context, o *options, chosen []campaign, out io.Writer) (failed []string, err error) {
	p := &programme{options: o}
	if p.builder, err = newBuilder(); err != nil {
		return nil, err
	}
	defer p.builder.close()
	var weight float64
	for _, c := range chosen {
		weight += c.weight
	}
	left := o.minutes * 60
	var mu sync.Mutex // guards failed and the output
	var running sync.WaitGroup
	space := semaphore.NewWeighted(int64(2 * o.jobs))
	for _, c := range chosen {
		units := c.room.units(o.jobs)
		_ = space.Acquire(context.Background(), units) // released when a campaign ends, also after an interrupt
		share := left * c.weight / weight
		began := time.Now()
		running.Go(func() {
			defer space.Release(units)
			var said bytes.Buffer
			wrong := p.runOne(ctx, &c, share, &said)
			mu.Lock()
			defer mu.Unlock()
			_, _ = fmt.Fprintf(out, "== %s\n%s", c.name, said.Bytes())
			for _, w := range wrong {
				_, _ = fmt.Fprintf(out, "== %s: not proven: %s\n", c.name, w)
			}
			_, _ = fmt.Fprintf(out, "== %s: %.0fs\n", c.name, time.Since(began).Seconds())
			if len(wrong) > 0 {
				failed = append(failed, c.name+" ("+strings.Join(wrong, ", ")+")")
			}
		})
		if o.jobs == 1 {
			running.Wait()
		}
		// Unused time is shared among the later campaigns.
		left, weight = max(left-time.Since(began).Seconds(), 0), weight-c.weight
	}
	running.Wait()
	return failed, nil
}

// runOne runs a campaign with its own log, to separate its lines from those of others, and adds them to the common log.
func (p *programme) runOne(ctx context.Context, c *campaign, share float64, out io.Writer) (wrong []string) {
	if ctx.Err() != nil {
		return []string{"did not run: interrupted"}
	}
	dir, err := os.MkdirTemp("", "parkd-campaign-")
	if err != nil {
		return []string{err.Error()}
	}
	defer func() { _ = os.RemoveAll(dir) }()
	own := filepath.Join(dir, "log")
	r := c.run(ctx, p, share, own, out)
	if err := r.addTo(p.log); err != nil {
		r.problems = append(r.problems, err.Error())
	}
	return r.problems
}

// addTo adds the lines to a log.
func (r *result) addTo(log string) error {
	var errs []error
	for i := range r.lines {
		errs = append(errs, addLine(log, &r.lines[i]))
	}
	return errors.Join(errs...)
}
