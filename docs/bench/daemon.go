package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
)

// settings is a configuration of parkd, as in its file.
type settings map[string]any

// pool is the name of the pool under load.
const pool = "load"

const tasksPath = "/pools/" + pool + "/tasks"

// newSettings returns a configuration with one pool and one backend: "in_memory", "file" or "postgres". change may
// change it at the end.
func newSettings(dir, backend, dsn string, change func(s, pool settings)) settings {
	p := settings{
		"kind": "mixed", "max_units": 4096, "max_queue_depth": 2_000_000, "default_timeout_secs": 600,
		"queue": backend, "mailbox": backend, "executor": settings{"type": "simulate"},
	}
	s := settings{
		"listen": "127.0.0.1:0", "socket": "off", "audit": backend, "pools": settings{pool: p},
		"backends": settings{"file": settings{"path": filepath.Join(dir, "parkd.db")}},
	}
	if dsn != "" {
		s["backends"].(settings)["postgres"] = settings{"dsn": dsn}
	}
	if change != nil {
		change(s, p)
	}
	return s
}

// serve starts a daemon in a folder.
func (b *bench) serve(ctx context.Context, dir string, s settings, flags ...string) (*process, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "scheduler-config.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	args := append([]string{b.parkd, "serve", "--config", file, "--ready-fd", "3", "--log-level", "warn"}, flags...)
	if b.profile != "" {
		to := filepath.Join(b.profile, filepath.Base(dir))
		if err := os.MkdirAll(to, 0o755); err != nil {
			return nil, err
		}
		args = append(args, "--profile", to)
	}
	return start(ctx, dir, args...)
}

// newDir returns a new directory.
func (b *bench) newDir(name string) string {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		panic(err) // its parent was created by this program
	}
	return dir
}

// migrate creates parkd's schema in a database.
func (b *bench) migrate(ctx context.Context, dsn string) error {
	if out, err := exec.CommandContext(ctx, b.parkd, "migrate", "up", "--dsn", dsn).CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w\n%s", err, out)
	}
	return nil
}

// waitIdle waits until no task is parked or running.
func waitIdle(ctx context.Context, url string, within time.Duration) error {
	c, err := client.New(client.Config{URL: url})
	if err != nil {
		return err
	}
	defer c.Close()
	for giveUp := time.Now().Add(within); ; {
		p, err := c.Pool(ctx, pool)
		if err == nil && p.QueueDepth == 0 && p.Running == 0 {
			return nil
		}
		if time.Now().After(giveUp) {
			return fmt.Errorf("%d tasks parked and %d running after %s: %v", p.QueueDepth, p.Running, within, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// countEvents returns how many events of an action a daemon has committed, from its metrics.
func countEvents(ctx context.Context, url, action string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "parkd_events_total{") && strings.Contains(line, `action="`+action+`"`) {
			f, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			return int(f), err
		}
	}
	return 0, nil
}
