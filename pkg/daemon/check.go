package daemon

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/executor/command"
	"github.com/parkd-dev/parkd/pkg/executor/httpcall"
	"github.com/parkd-dev/parkd/pkg/executor/notify"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// Check checks the configuration as the parts of a daemon do when they are opened, without opening any. Mistakes are
// returned as [config.Faults], each with its place. It does not find transient problems, such as a port in use.
func Check(c *config.Config) error {
	var faults config.Faults
	fault := func(path string, err error) {
		if err != nil {
			faults = append(faults, config.Fault{Path: path, Problem: err.Error()})
		}
	}
	if c.Socket != "" {
		fault(c.Place("socket"), checkSocket(c.Socket))
	}
	for _, b := range c.Backends() {
		switch b.Kind() {
		case park.File:
			fault(c.Place("backends.file.path"), checkDatabase(c.File.Path))
		case park.Postgres:
			fault(c.DSNPath(b), postgres.CheckDSN(c.DSN(b)))
		case park.InMemory:
		}
	}
	for _, p := range c.Pools {
		checkPool(p, func(key string, err error) { fault("pools."+p.Name+"."+key, err) })
	}
	for _, e := range engineConfig(c).Check() {
		fault(settingOf(c, e), errors.New(e.Problem))
	}
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// engineConfig returns the engine's configuration without stores and executors.
func engineConfig(c *config.Config) *engine.Config {
	e := &engine.Config{
		Audit: c.Audit, Retention: c.Retention, Shared: shared(c), NodeTTL: c.NodeTTL, NodeGrace: nodeGrace(c), Quiet: !c.Postgres.Notify,
	}
	for _, p := range c.Pools {
		e.Pools = append(e.Pools, enginePool(p))
	}
	return e
}

// settingOf returns the path of the setting from which a field of the engine's configuration was made.
func settingOf(c *config.Config, e engine.FieldError) string {
	key := map[string]string{
		"Pools:": "pools", "Retention": "retention", "NodeTTL": "node_ttl", "MaxUnits": "max_units", "MaxQueueDepth": "max_queue_depth",
		"DefaultTimeout": "default_timeout_secs", "Retry.MaxAttempts": "retry.max_attempts", "Retry.Backoff": "retry.backoff",
		"NodeGrace": "executor.kill_grace", "Kind": "kind", "Runtime": "runtime",
	}[e.Field]
	switch {
	case e.Pool < 0:
		return key
	case key == "":
		return "pools." + c.Pools[e.Pool].Name
	}
	return "pools." + c.Pools[e.Pool].Name + "." + key
}

// DescribeDSN returns a DSN with secrets masked.
func DescribeDSN(dsn string) string { return postgres.DescribeDSN(dsn) }

// checkDatabase returns an error if path cannot be a SQLite file.
func checkDatabase(path string) error {
	if path == "" || strings.ContainsRune(path, 0) {
		return fmt.Errorf("must be the path of a file, not %q", path)
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s exists and is not a regular file", path)
	}
	return nil
}

func checkPool(p config.Pool, fault func(key string, err error)) {
	if n := p.Mailbox.Notifier; n != nil {
		fault("mailbox.notifier.secret", notify.CheckSecret(n.Secret))
		_, err := notify.New(notify.Config{BaseURL: n.BaseURL})
		fault("mailbox.notifier.base_url", err)
	}
	switch x := p.Executor; x.Type {
	case config.ExecutorExec:
		i, err := command.CheckEnv(x.Env)
		fault(fmt.Sprintf("executor.env[%d]", i), err)
	case config.ExecutorHTTP:
		_, err := httpcall.New(httpcall.Config{URL: x.URL, Headers: x.Headers})
		fault("executor.url", err)
	case config.ExecutorSimulate, config.ExecutorWorker:
	}
}
