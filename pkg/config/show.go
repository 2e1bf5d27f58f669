package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// list returns all settings with their origins.
func (c *Config) list(s section) []Setting {
	var all []Setting
	add := func(path string, value any, in bool) {
		origin := "default"
		if in {
			origin = "file"
		}
		if special := c.origins[path]; special != "" {
			origin = special
		}
		all = append(all, Setting{Path: path, Value: show(value), From: origin})
	}
	top := func(path string, value any) { add(path, value, isSet(s.tree, path)) }
	top("listen", orOff(c.Listen))
	top("socket", orOff(c.Socket))
	top("audit", c.Audit)
	top("backends.file.path", c.File.Path)
	top("backends.postgres.dsn", "")
	all[len(all)-1].dsn = c.Postgres.DSN
	top("backends.postgres.notify", c.Postgres.Notify)
	top("node_ttl", c.NodeTTL)
	top("retention", c.Retention)
	top("drain_timeout", c.DrainTimeout)
	top("allowed_hosts", c.AllowedHosts)
	for i, t := range c.Tokens {
		add(fmt.Sprintf("tokens[%d]", i), strings.Join(strings.Fields(t.Name+" "+t.Tenant+" "+string(t.Role)+" "+masked), " "), true)
	}
	pools, _ := s.tree["pools"].(map[string]any)
	for _, p := range c.Pools {
		tree, _ := pools[p.Name].(map[string]any)
		p.list(func(key string, value any) {
			add("pools."+p.Name+"."+key, value, isSet(tree, key))
		})
	}
	return all
}

// isSet reports whether the file has something at a path. This includes what a short form sets, such as a mailbox that
// is only the name of a backend.
func isSet(tree map[string]any, path string) bool {
	key, rest, more := strings.Cut(path, ".")
	v, ok := tree[key]
	if below, object := v.(map[string]any); object && more {
		if _, alias := below["type"]; alias && path == "mailbox.storage" {
			return true
		}
		return isSet(below, rest)
	}
	return ok
}

func (p *Pool) list(add func(key string, value any)) {
	add("kind", p.Kind)
	add("max_units", p.MaxUnits)
	add("max_queue_depth", p.MaxQueueDepth)
	add("default_timeout_secs", int64(p.DefaultTimeout/time.Second))
	add("queue", p.Queue)
	add("mailbox.storage", p.Mailbox.Storage)
	if n := p.Mailbox.Notifier; n != nil {
		add("mailbox.notifier.base_url", maskURL(n.BaseURL, nil))
		add("mailbox.notifier.auth_header", mask(n.AuthHeader))
		add("mailbox.notifier.secret", mask(n.Secret))
	}
	add("runtime", p.Runtime)
	add("retry.max_attempts", p.Retry.MaxAttempts)
	add("retry.backoff", time.Duration(p.Retry.Backoff))
	add("executor.type", p.Executor.Type)
	switch p.Executor.Type {
	case ExecutorExec:
		add("executor.command", maskCommand(p.Executor.Command))
		add("executor.work_dir", p.Executor.WorkDir)
		add("executor.env", maskEnv(p.Executor.Env))
		add("executor.kill_grace", p.Executor.KillGrace)
		add("executor.max_log_bytes", p.Executor.MaxLogBytes)
	case ExecutorHTTP:
		add("executor.url", maskURL(p.Executor.URL, plainSegment()))
		for _, name := range sortedKeys(p.Executor.Headers) {
			add("executor.headers."+name, masked)
		}
		add("executor.max_reply_bytes", p.Executor.MaxReplyBytes)
	case ExecutorSimulate, ExecutorWorker:
	}
}

// plainSegment matches the segments of an API's paths, such as v1 and completions.
func plainSegment() *regexp.Regexp { return regexp.MustCompile(`^([a-z_-]{1,20}|v[0-9]{1,2})?$`) }

func show(v any) string {
	switch v := v.(type) {
	case []string:
		if len(v) == 0 {
			return ""
		}
		b, _ := json.Marshal(v)
		return string(b)
	case time.Duration:
		return v.String()
	}
	return fmt.Sprint(v)
}

func orOff(s string) string {
	if s == "" {
		return Off
	}
	return s
}
