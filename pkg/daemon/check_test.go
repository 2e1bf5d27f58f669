package daemon

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
)

func loadConfig(t *testing.T, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	c, err := config.Load(config.Options{File: path, Env: func(name string) string {
		if name == "HOME" {
			return home
		}
		return ""
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCheckSeesWhatThePartsSee: every mistake that would stop a daemon at its start is found before anything is opened,
// with its place, and without secrets.
func TestCheckSeesWhatThePartsSee(t *testing.T) {
	pool := func(body string) string {
		return `"pools":{"a":{"max_units":1,"max_queue_depth":1,"default_timeout_secs":1,` + body + `}}`
	}
	dir := t.TempDir()
	for place, text := range map[string]string{
		"socket":                          `"socket":"/` + strings.Repeat("x", 120) + `"`,
		"backends.file.path":              `"backends":{"file":{"path":"` + dir + `"}}`,
		"backends.postgres.dsn":           `"audit":"postgres","backends":{"postgres":{"dsn":"postgres://u:hunter2@h:port/d"}}`,
		"pools.a.queue.dsn":               pool(`"queue":{"type":"postgres","dsn":"host=h port=hunter2"}`) + `,"audit":"file"`,
		"pools.a.mailbox.dsn":             pool(`"mailbox":{"storage":"postgres","dsn":"hunter2"}`) + `,"audit":"file"`,
		"pools.a.executor.env[1]":         pool(`"executor":{"env":["LD_LIBRARY_PATH=/opt","LD_PRELOAD=hunter2"]}`),
		"pools.a.executor.env[0]":         pool(`"executor":{"env":["GIT_DIR=hunter2"]}`),
		"pools.a.mailbox.notifier.secret": pool(`"mailbox":{"notifier":{"base_url":"http://h","secret":"whsec_"}}`),
	} {
		c := loadConfig(t, "{"+text+"}")
		for name, err := range map[string]error{"check": Check(c), "run": Run(t.Context(), c, Options{})} {
			faults, _ := errors.AsType[config.Faults](err)
			if len(faults) != 1 || faults[0].Path != place || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s of %s: %v", name, place, err)
			}
		}
	}
	if err := Check(loadConfig(t, "{"+pool(`"executor":{"env":["LD_LIBRARY_PATH=/opt"]}`)+"}")); err != nil {
		t.Errorf("libraries of the operator's own: %v", err)
	}
}

// TestCheckAsksTheEngine: mistakes that the engine would find are reported with the others, by their place in the file.
func TestCheckAsksTheEngine(t *testing.T) {
	for place, change := range map[string]func(*config.Config){
		"pools.sim.max_units":            func(c *config.Config) { c.Pools[0].MaxUnits = -1 },
		"pools.sim.max_queue_depth":      func(c *config.Config) { c.Pools[0].MaxQueueDepth = park.MaxQueueDepth + 1 },
		"pools.sim.default_timeout_secs": func(c *config.Config) { c.Pools[0].DefaultTimeout = time.Millisecond },
		"pools.sim.retry.max_attempts":   func(c *config.Config) { c.Pools[0].Retry.MaxAttempts = 5000 },
		"pools.sim.kind":                 func(c *config.Config) { c.Pools[0].Kind = "tape" },
		"pools.SIM":                      func(c *config.Config) { c.Pools[0].Name = "SIM" },
		"node_ttl":                       func(c *config.Config) { c.NodeTTL = -1 },
		"retention":                      func(c *config.Config) { c.Retention = -1 },
		"pools":                          func(c *config.Config) { c.Pools = nil },
	} {
		c := memoryConfig("127.0.0.1:0", filepath.Join(t.TempDir(), "s"))
		change(c)
		for name, err := range map[string]error{"check": Check(c), "run": Run(t.Context(), c, Options{})} {
			faults, _ := errors.AsType[config.Faults](err)
			if len(faults) != 1 || faults[0].Path != place {
				t.Errorf("%s of %s: %v", name, place, err)
			}
		}
	}
}

// TestUnusedPostgresIsSaid: a Postgres address that no pool uses is warned about.
func TestUnusedPostgresIsSaid(t *testing.T) {
	home := t.TempDir()
	for name, o := range map[string]config.Options{
		"--postgres-dsn":     {DSN: "postgres://u:hunter2@h/d"},
		"PARKD_POSTGRES_DSN": {},
		"":                   {},
	} {
		o.Env = func(v string) string {
			switch v {
			case "HOME":
				return home
			case name:
				return "postgres://u:hunter2@h/d"
			}
			return ""
		}
		c, err := config.Load(o)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		warnUnused(c, slog.New(slog.NewTextHandler(&text, nil)))
		if said := text.String(); (name != "") != strings.Contains(said, "level=WARN") || !strings.Contains(said, name) || strings.Contains(said, "hunter2") {
			t.Errorf("%q: %s", name, said)
		}
	}
}
