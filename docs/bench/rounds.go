package main

// Throughput: whole processes measured alternately, in equal rounds.

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// variant is something that is measured once in each round.
type variant struct {
	name string
	run  func(ctx context.Context, round int) (*measurement, error)
}

// alternate measures the variants in turn and returns the measurements by name, in the order of the rounds.
func (b *bench) alternate(ctx context.Context, all ...variant) (map[string][]*measurement, error) {
	got := make(map[string][]*measurement)
	for round := range b.rounds {
		var line strings.Builder
		for _, c := range all {
			m, err := c.run(ctx, round)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", c.name, round, err)
			}
			got[c.name] = append(got[c.name], m)
			fmt.Fprintf(&line, "  %s %.0f/s p99 %s", c.name, m.perSecond(), m.latency(0.99).Round(10*time.Microsecond))
			if n := float64(m.tasks); n > 0 && m.serverCPU > 0 {
				fmt.Fprintf(&line, " (µs cpu %.0f+%.0f)", float64(m.serverCPU.Microseconds())/n, float64(m.loadCPU.Microseconds())/n)
			}
		}
		b.logf("%s", line.String())
	}
	return got, nil
}

// bareRun measures the bare server.
func (b *bench) bareRun(clients int) variant {
	return variant{"bare", func(ctx context.Context, round int) (*measurement, error) {
		dir := b.newDir("bare")
		p, err := start(ctx, dir, ownPath(), "bare")
		if err != nil {
			return nil, err
		}
		defer p.kill()
		l := load{urls: []string{p.url}, clients: clients, prefix: "bare"}
		if _, err := l.drive(ctx, warmUp); err != nil {
			return nil, err
		}
		return l.drive(ctx, b.duration, p)
	}}
}

const warmUp = 300 * time.Millisecond

// parkdRun measures daemons with one backend, from the first submission until all tasks have ended.
func (b *bench) parkdRun(name, backend string, nodes int, l load, pg *server.Server) variant {
	return variant{name, func(ctx context.Context, round int) (*measurement, error) {
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
			dir := b.newDir(name)
			p, err := b.serve(ctx, dir, newSettings(dir, backend, dsn, nil))
			if err != nil {
				return nil, err
			}
			all, l.urls = append(all, p), append(l.urls, p.url)
		}
		if pg == nil {
			return b.measureDaemons(ctx, l, all)
		}
		before := treeCPU(pg.Pid())
		m, err := b.measureDaemons(ctx, l, all)
		if err == nil {
			b.logf("    %s: %.0f µs of Postgres per task", name, float64((treeCPU(pg.Pid())-before).Microseconds())/float64(m.tasks))
		}
		return m, err
	}}
}

// measureDaemons sends the load and checks that every accepted task was completed.
func (b *bench) measureDaemons(ctx context.Context, l load, all []*process) (*measurement, error) {
	l.prefix = "warm"
	warm, err := l.drive(ctx, warmUp)
	if err != nil {
		return nil, err
	}
	if err := waitIdle(ctx, l.urls[0], time.Minute); err != nil {
		return nil, err
	}
	l.prefix = "task"
	began, servers, own := time.Now(), cpuOf(all), ownCPU()
	m, err := l.drive(ctx, b.duration)
	if err != nil {
		return nil, err
	}
	if err := waitIdle(ctx, l.urls[0], time.Minute); err != nil {
		return nil, err
	}
	m.elapsed, m.serverCPU, m.loadCPU = time.Since(began), cpuOf(all)-servers, ownCPU()-own
	done := 0
	for _, url := range l.urls {
		n, err := countEvents(ctx, url, "complete")
		if err != nil {
			return nil, err
		}
		done += n
	}
	if done != m.tasks+warm.tasks {
		return nil, fmt.Errorf("%d tasks were accepted and %d completed", m.tasks+warm.tasks, done)
	}
	return m, nil
}

// rateRatios returns a's rate divided by b's, for each round.
func rateRatios(a, b []*measurement) []float64 {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = a[i].perSecond() / b[i].perSecond()
	}
	return all
}

func medianRate(all []*measurement) float64 {
	values := make([]float64, len(all))
	for i := range all {
		values[i] = all[i].perSecond()
	}
	return medianOf(values)
}

// latencyQuantiles returns a quantile of each round, in milliseconds.
func latencyQuantiles(all []*measurement, q float64) []float64 {
	values := make([]float64, len(all))
	for i := range all {
		values[i] = ms(all[i].latency(q))
	}
	return values
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// cpuPerTask returns the processor time of a task in microseconds: of the servers, and of the load generator.
func cpuPerTask(all []*measurement) (servers, own float64) {
	var s, o []float64
	for _, x := range all {
		s = append(s, float64(x.serverCPU.Microseconds())/float64(x.tasks))
		o = append(o, float64(x.loadCPU.Microseconds())/float64(x.tasks))
	}
	return medianOf(s), medianOf(o)
}

// describeRates describes the results of two variants.
func describeRates(what string, a []*measurement, than string, b []*measurement) string {
	as, ao := cpuPerTask(a)
	bs, bo := cpuPerTask(b)
	return fmt.Sprintf("%s %.0f/s (%.0f µs of processor time per task, and %.0f of the load generator), %s %.0f/s (%.0f and %.0f)",
		what, medianRate(a), as, ao, than, medianRate(b), bs, bo)
}
