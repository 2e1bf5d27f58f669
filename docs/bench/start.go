package main

// The cost of a short command before it does anything.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// startsPerRound is how often each program is started in a round.
const startsPerRound = 20

// program is a program whose start is measured.
type program struct {
	name  string
	args  []string
	fails bool

	cpu    []float64 // of each round, the median in milliseconds
	faults float64   // page faults of the last start
}

// start measures the processor time of short commands, compared with a program that prints a line and with tsp.
func (b *bench) start(ctx context.Context) error {
	dir := b.newDir("start")
	d, err := b.serve(ctx, dir, newSettings(dir, "file", "", func(s, _ settings) { s["socket"] = filepath.Join(dir, "s") }))
	if err != nil {
		return err
	}
	defer d.stop()
	line, err := buildHello(ctx, dir)
	if err != nil {
		return err
	}
	hello := &program{name: "a Go program that prints a line", args: []string{line}}
	version := &program{name: "parkd version", args: []string{b.parkd, "version"}}
	shim := &program{name: "the shim, without a job", args: []string{b.parkd, "__shim"}, fails: true}
	status := &program{name: "parkd status", args: []string{b.parkd, "status", "--server", d.url}}
	all := []*program{hello, version, shim, status}
	tsp := &program{name: "tsp", args: []string{"tsp"}}
	env := append(environment(dir), "TS_SOCKET="+filepath.Join(dir, "tsp"))
	if _, err := exec.LookPath("tsp"); err == nil {
		all = append(all, tsp)
		defer func() {
			stop := exec.Command("tsp", "-K")
			stop.Env = env
			_ = stop.Run()
		}()
	}
	for range b.rounds {
		if err := startAll(ctx, env, all); err != nil {
			return err
		}
	}
	for row, p := range map[string]*program{"start-version": version, "start-shim": shim, "start-status": status} {
		b.record(row, fmt.Sprintf("%.0f page faults; %.2f × %s (%.1f ms and %.0f page faults)",
			p.faults, medianOf(p.cpu)/medianOf(hello.cpu), hello.name, medianOf(hello.cpu), hello.faults), p.cpu...)
	}
	if len(tsp.cpu) == 0 {
		b.logf("start: task-spooler's tsp is not installed, so parkd status is not compared with it")
		return nil
	}
	b.record("start-tsp", fmt.Sprintf("tsp takes %.1f ms and %.0f page faults", medianOf(tsp.cpu), tsp.faults), quotients(status.cpu, tsp.cpu)...)
	return nil
}

func quotients(over, under []float64) []float64 {
	out := make([]float64, len(over))
	for i := range over {
		out[i] = over[i] / under[i]
	}
	return out
}

// startAll starts all programs in turn, so that other load on the machine affects them alike.
func startAll(ctx context.Context, env []string, all []*program) error {
	took := make([][]float64, len(all))
	for range startsPerRound {
		for i, p := range all {
			c := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
			c.Env = env
			if err := c.Run(); err != nil && !p.fails {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			took[i] = append(took[i], ms(c.ProcessState.UserTime()+c.ProcessState.SystemTime()))
			if u, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
				p.faults = float64(u.Minflt)
			}
		}
	}
	for i, p := range all {
		p.cpu = append(p.cpu, medianOf(took[i]))
	}
	return nil
}

// buildHello builds the program that only prints a line.
func buildHello(ctx context.Context, dir string) (string, error) {
	source := filepath.Join(dir, "line.go")
	text := "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return "", err
	}
	program := filepath.Join(dir, "line")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, source)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build a program that prints a line: %w\n%s", err, out)
	}
	return program, nil
}
