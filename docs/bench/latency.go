package main

// Latencies of single operations: wake-ups, idle starts, whole commands.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/park"
)

// wakeRate is how many tasks arrive a second: about two thirds of what the pool's units can process. So most tasks are
// parked for a while, and they do not wait for the processors.
const wakeRate = 1000

// wake runs parkd's load test and records the time from free capacity to the next start that uses it.
func (b *bench) wake(ctx context.Context) error {
	for _, backend := range []string{"memory", "file", "postgres"} {
		var p99 []float64
		var detail string
		for range b.rounds {
			cmd := exec.CommandContext(ctx, b.parkd, "loadtest", "--rate", fmt.Sprint(wakeRate), "--duration", "8s", "--backend", backend, "-o", "json")
			cmd.Env = environment(b.newDir("wake"))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			var r struct {
				WakeMs, SubmitMs          struct{ P50, P95, P99, Max float64 }
				TasksPerSec, SubmitPerSec float64
				MaxParked                 int
				GeneratorCPUShare         float64 `json:"generatorCpuShare"`
			}
			if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
				return errors.Join(err, jsonErr)
			}
			p99 = append(p99, r.WakeMs.P99)
			detail = fmt.Sprintf("p50 %.1f, p95 %.1f, max %.0f ms in the last round: %.0f tasks/s arrived at random times, at most %d parked; %.0f %% of the processor time is the load generator's",
				r.WakeMs.P50, r.WakeMs.P95, r.WakeMs.Max, r.SubmitPerSec, r.MaxParked, 100*r.GeneratorCPUShare)
			b.logf("  %s wake p99 %.1f ms; %s", backend, r.WakeMs.P99, detail)
		}
		b.record("wake-"+backend, detail, p99...)
	}
	return nil
}

// idlePause returns a pause after which the system is idle. It is random, so as not to coincide with a timer.
func idlePause() time.Duration { return 20*time.Millisecond + rand.N(30*time.Millisecond) }

// samplesPerRound is how many single starts a round has.
const samplesPerRound = 60

// command measures the time from the submission of a command to its first output, and that of fork and exec of the same
// command alone.
func (b *bench) command(ctx context.Context) error {
	dir := b.newDir("command")
	socket := filepath.Join(dir, "s")
	d, err := b.serve(ctx, dir, newSettings(dir, "file", "", func(s, p settings) {
		s["socket"] = socket
		p["executor"] = settings{"type": "exec"}
	}))
	if err != nil {
		return err
	}
	defer d.stop()
	svc, err := client.New(client.Config{Socket: socket})
	if err != nil {
		return err
	}
	heard := filepath.Join(dir, "heard")
	l, err := net.Listen("unix", heard)
	if err != nil {
		return err
	}
	defer l.Close()
	first := func() error {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		return err
	}
	line := []string{ownPath(), "tell", heard}
	var over, through, alone []float64
	for range b.rounds {
		ours, err := sampleTimes(func() error {
			r, err := svc.Submit(ctx, pool, []park.Submission{{Command: line}})
			if err != nil {
				return err
			}
			if r[0].Err != nil {
				return r[0].Err
			}
			return first()
		})
		if err != nil {
			return err
		}
		theirs, err := sampleTimes(func() error {
			c := exec.CommandContext(ctx, line[0], line[1:]...)
			if err := c.Start(); err != nil {
				return err
			}
			err := first()
			return errors.Join(err, c.Wait())
		})
		if err != nil {
			return err
		}
		o, t := ms(quantile(ours, 0.5)), ms(quantile(theirs, 0.5))
		over, through, alone = append(over, o-t), append(through, o), append(alone, t)
	}
	b.record("command", fmt.Sprintf("%.1f ms from the submission, %.1f ms from fork and exec alone", medianOf(through), medianOf(alone)), over...)
	return nil
}

// sampleTimes calls do repeatedly, with pauses, and returns its times, sorted.
func sampleTimes(do func() error) ([]time.Duration, error) {
	var took []time.Duration
	for range samplesPerRound {
		time.Sleep(idlePause())
		began := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took, nil
}

// across measures the time from a submission to one node to the start of the work on another, and River's idle start
// for comparison.
func (b *bench) across(ctx context.Context) error {
	pg, err := startPostgres(ctx)
	if err != nil {
		return err
	}
	defer pg.Stop()
	dsn, err := pg.Create(ctx, "across", "template1")
	if err != nil {
		return err
	}
	if err := b.migrate(ctx, dsn); err != nil {
		return err
	}
	began := make(chan time.Time, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	work := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		began <- time.Now()
		_, _ = w.Write([]byte("{}"))
	})}
	go func() { _ = work.Serve(l) }()
	defer work.Close()
	with := func(_, p settings) { p["executor"] = settings{"type": "http", "url": "http://" + l.Addr().String()} }
	// One node takes submissions and starts none of the pool's tasks; the other node starts them.
	dirs := []string{b.newDir("across"), b.newDir("across")}
	takes, err := b.serve(ctx, dirs[0], newSettings(dirs[0], "postgres", dsn, func(s, p settings) {
		with(s, p)
		s["pools"].(settings)["other"] = settings{"kind": "mixed", "max_units": 1, "max_queue_depth": 1, "default_timeout_secs": 60, "queue": "postgres", "executor": settings{"type": "simulate"}}
	}), "--pools", "other")
	if err != nil {
		return err
	}
	defer takes.stop()
	starts, err := b.serve(ctx, dirs[1], newSettings(dirs[1], "postgres", dsn, with))
	if err != nil {
		return err
	}
	defer starts.stop()
	return b.idleStarts(ctx, takes, began, func() ([]time.Duration, error) { return riverIdle(ctx, pg, fastTuning(), samplesPerRound) })
}

func (b *bench) idleStarts(ctx context.Context, takes *process, began <-chan time.Time, river func() ([]time.Duration, error)) error {
	c, err := client.New(client.Config{URL: takes.url})
	if err != nil {
		return err
	}
	var share, ours99, theirs99, ours50, theirs50 []float64
	for range b.rounds {
		var took []time.Duration
		for range samplesPerRound {
			time.Sleep(idlePause())
			sent := time.Now()
			r, err := c.Submit(ctx, pool, []park.Submission{{Payload: []byte(rawPayload)}})
			if err != nil || r[0].Err != nil {
				return fmt.Errorf("submit: %v, %v", err, r)
			}
			select {
			case at := <-began:
				took = append(took, at.Sub(sent))
			case <-time.After(10 * time.Second):
				return errors.New("no task was started")
			}
		}
		slices.Sort(took)
		theirs, err := river()
		if err != nil {
			return err
		}
		ours99, theirs99 = append(ours99, ms(quantile(took, 0.99))), append(theirs99, ms(quantile(theirs, 0.99)))
		ours50, theirs50 = append(ours50, ms(quantile(took, 0.5))), append(theirs50, ms(quantile(theirs, 0.5)))
		share = append(share, ms(quantile(took, 0.99))/ms(quantile(theirs, 0.99)))
	}
	b.record("across", fmt.Sprintf("parkd p50 %.1f, p99 %.1f ms over HTTP, from node to node; River tuned p50 %.1f, p99 %.1f ms within one process",
		medianOf(ours50), medianOf(ours99), medianOf(theirs50), medianOf(theirs99)), share...)
	return nil
}

// small measures the command line and the binary.
func (b *bench) small(ctx context.Context) error {
	dir := b.newDir("status")
	d, err := b.serve(ctx, dir, newSettings(dir, "file", "", func(s, _ settings) { s["socket"] = filepath.Join(dir, "s") }))
	if err != nil {
		return err
	}
	defer d.stop()
	var took []float64
	for range b.rounds {
		t, err := sampleTimes(func() error {
			c := exec.CommandContext(ctx, b.parkd, "status", "--server", d.url)
			c.Env = environment(dir)
			return c.Run()
		})
		if err != nil {
			return err
		}
		took = append(took, ms(quantile(t, 0.5)))
	}
	b.record("status", "median of each round", took...)
	// The size is that of a release, whichever binary is measured.
	stripped := filepath.Join(dir, "stripped")
	if err := build(ctx, b.root, stripped); err != nil {
		return err
	}
	info, err := os.Stat(stripped)
	if err != nil {
		return err
	}
	b.record("binary", "CGO_ENABLED=0 go build -trimpath -ldflags '-s -w'", float64(info.Size())/1e6)
	return nil
}
