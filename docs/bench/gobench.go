package main

// The benchmarks of Go packages.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
)

// goBench runs benchmarks of a package count times and returns their ns/op by name, in the order of the runs.
func (b *bench) goBench(ctx context.Context, pkg, pattern string, count int) (map[string][]float64, error) {
	c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-count", strconv.Itoa(count), "-benchtime", "300ms", pkg)
	c.Dir, c.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go test -bench %s %s: %w\n%s", pattern, pkg, err, out)
	}
	got := make(map[string][]float64)
	line := regexp.MustCompile(`(?m)^(Benchmark\S+?)(?:-\d+)?\s+\d+\s+([\d.e+]+) ns/op`)
	for _, m := range line.FindAllStringSubmatch(string(out), -1) {
		ns, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, err
		}
		got[m[1]] = append(got[m[1]], ns)
	}
	if len(got) == 0 {
		return nil, fmt.Errorf("%s has no benchmark %s:\n%s", pkg, pattern, out)
	}
	return got, nil
}

// lot measures the scheduler alone, and how its cost grows with the parked tasks.
func (b *bench) lot(ctx context.Context) error {
	got, err := b.goBench(ctx, "./pkg/internal/lot", "^Benchmark(TenThousand|Queue|Cycle)$", b.rounds)
	if err != nil {
		return err
	}
	millis := func(name string) []float64 {
		ns := slices.Clone(got["Benchmark"+name])
		for i := range ns {
			ns[i] /= 1e6
		}
		return ns
	}
	b.record("lot", "BenchmarkTenThousand of pkg/internal/lot", millis("TenThousand")...)
	b.record("lot-queue", "BenchmarkQueue of pkg/internal/lot", millis("Queue")...)
	few, many := got["BenchmarkCycle/parked=1000"], got["BenchmarkCycle/parked=1000000"]
	growth := make([]float64, len(many))
	for i := range many {
		growth[i] = many[i] / few[i]
	}
	b.record("parked-lot", fmt.Sprintf("BenchmarkCycle of pkg/internal/lot: %.0f and %.0f ns per task", medianOf(few), medianOf(many)), growth...)
	return nil
}
