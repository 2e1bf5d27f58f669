package main

// Throughput: whole processes in turn, each round the same.

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// contestant is something that is measured once in each round.
type contestant struct {
	name string
	run  func(ctx context.Context, round int) (*outcome, error)
}

// rounds runs the contestants in turn and returns the outcomes by name, in the order of the rounds.
func (b *bench) alternate(ctx context.Context, all ...contestant) (map[string][]*outcome, error) {
	got := make(map[string][]*outcome)
	for round := range b.rounds {
		var line strings.Builder
		for _, c := range all {
			o, err := c.run(ctx, round)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", c.name, round, err)
			}
			got[c.name] = append(got[c.name], o)
			fmt.Fprintf(&line, "  %s %.0f/s p99 %s", c.name, o.perSecond(), o.at(0.99).Round(10*time.Microsecond))
			if n := float64(o.tasks); n > 0 && o.servers > 0 {
				fmt.Fprintf(&line, " (µs cpu %.0f+%.0f)", float64(o.servers.Microseconds())/n, float64(o.own.Microseconds())/n)
			}
		}
		b.say("%s", line.String())
	}
	return got, nil
}

// bareRun measures the bare server.
func (b *bench) bareRun(clients int) contestant {
	return contestant{"bare", func(ctx context.Context, round int) (*outcome, error) {
		dir := b.fresh("bare")
		p, err := start(ctx, dir, self(), "bare")
		if err != nil {
			return nil, err
		}
		defer p.kill()
		l := load{urls: []string{p.url}, clients: clients, prefix: "bare"}
		if _, err := l.drive(ctx, warmUp); err != nil {
			return nil, err
		}
		return l.drive(ctx, b.length, p)
	}}
}

const warmUp = 300 * time.Millisecond

// parkdRun measures daemons over one backend from the first submission until nothing is left to do.
func (b *bench) parkdRun(name, backend string, nodes int, l load, pg *server.Server) contestant {
	return contestant{name, func(ctx context.Context, round int) (*outcome, error) {
		dsn := ""
		if pg != nil {
			database := fmt.Sprintf("b%d_%d", time.Now().UnixNano(), round)
			var err error
			if dsn, err = pg.Create(ctx, database, "template1"); err != nil {
				return nil, err
			}
			if err := b.migrate(ctx, dsn); err != nil {
				return nil, err
			}
		}
		var all []*process
		defer func() {
			for _, p := range all {
				_ = p.stop()
			}
		}()
		l := l
		l.urls = nil
		for range nodes {
			dir := b.fresh(name)
			p, err := b.serve(ctx, dir, configured(dir, backend, dsn, nil))
			if err != nil {
				return nil, err
			}
			all, l.urls = append(all, p), append(l.urls, p.url)
		}
		if pg == nil {
			return b.measured(ctx, l, all)
		}
		before := family(pg.Pid())
		o, err := b.measured(ctx, l, all)
		if err == nil {
			b.say("    %s: %.0f µs of Postgres a task", name, float64((family(pg.Pid())-before).Microseconds())/float64(o.tasks))
		}
		return o, err
	}}
}

// measured drives the load and sees that every accepted task was completed.
func (b *bench) measured(ctx context.Context, l load, all []*process) (*outcome, error) {
	l.prefix = "warm"
	warm, err := l.drive(ctx, warmUp)
	if err != nil {
		return nil, err
	}
	if err := drained(ctx, l.urls[0], time.Minute); err != nil {
		return nil, err
	}
	l.prefix = "task"
	began, servers, own := time.Now(), cpuOf(all), ownCPU()
	o, err := l.drive(ctx, b.length)
	if err != nil {
		return nil, err
	}
	if err := drained(ctx, l.urls[0], time.Minute); err != nil {
		return nil, err
	}
	o.took, o.servers, o.own = time.Since(began), cpuOf(all)-servers, ownCPU()-own
	done := 0
	for _, url := range l.urls {
		n, err := happened(ctx, url, "complete")
		if err != nil {
			return nil, err
		}
		done += n
	}
	if done != o.tasks+warm.tasks {
		return nil, fmt.Errorf("%d tasks were accepted and %d completed", o.tasks+warm.tasks, done)
	}
	return o, nil
}

// ratios returns a's rate over b's, round by round.
func ratios(a, b []*outcome) []float64 {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = a[i].perSecond() / b[i].perSecond()
	}
	return all
}

func rate(all []*outcome) float64 {
	values := make([]float64, len(all))
	for i := range all {
		values[i] = all[i].perSecond()
	}
	return medianOf(values)
}

// times returns a quantile of each round in milliseconds.
func times(all []*outcome, q float64) []float64 {
	values := make([]float64, len(all))
	for i := range all {
		values[i] = ms(all[i].at(q))
	}
	return values
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// each returns the processor time of a task in microseconds: of the servers, and of the load.
func each(all []*outcome) (servers, own float64) {
	var s, o []float64
	for _, x := range all {
		s = append(s, float64(x.servers.Microseconds())/float64(x.tasks))
		o = append(o, float64(x.own.Microseconds())/float64(x.tasks))
	}
	return medianOf(s), medianOf(o)
}

// beside says how two contestants did.
func beside(what string, a []*outcome, than string, b []*outcome) string {
	as, ao := each(a)
	bs, bo := each(b)
	return fmt.Sprintf("%s %.0f/s (%.0f µs of processor a task, and %.0f of the load), %s %.0f/s (%.0f and %.0f)",
		what, rate(a), as, ao, than, rate(b), bs, bo)
}
