package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const masked = "***"

// list returns every setting with its origin.
func (c *Config) list(s section, from map[string]string) []Setting {
	var all []Setting
	add := func(path string, value any, in bool) {
		origin := "default"
		if in {
			origin = "file"
		}
		if special := from[path]; special != "" {
			origin = special
		}
		all = append(all, Setting{Path: path, Value: show(value), From: origin})
	}
	add("listen", orOff(c.Listen), false)
	add("socket", orOff(c.Socket), false)
	add("audit", c.Audit, s.has("audit"))
	add("backends.file.path", c.File.Path, false)
	add("backends.postgres.dsn", redact(c.Postgres.DSN), false)
	add("backends.postgres.notify", c.Postgres.Notify, !c.Postgres.Notify)
	add("node_ttl", c.NodeTTL, s.has("node_ttl"))
	add("retention", c.Retention, s.has("retention"))
	add("drain_timeout", c.DrainTimeout, s.has("drain_timeout"))
	add("allowed_hosts", c.AllowedHosts, s.has("allowed_hosts"))
	for i, t := range c.Tokens {
		add(fmt.Sprintf("tokens[%d]", i), strings.Join(strings.Fields(t.Name+" "+t.Tenant+" "+string(t.Role)+" "+masked), " "), true)
	}
	pools, _ := s.tree["pools"].(map[string]any)
	for _, p := range c.Pools {
		tree, _ := pools[p.Name].(map[string]any)
		p.list(func(key string, value any) {
			_, in := tree[strings.Split(key, ".")[0]]
			add("pools."+p.Name+"."+key, value, in)
		})
	}
	return all
}

func (p *Pool) list(add func(key string, value any)) {
	add("kind", p.Kind)
	add("max_units", p.MaxUnits)
	add("max_queue_depth", p.MaxQueueDepth)
	add("default_timeout_secs", int64(p.DefaultTimeout/time.Second))
	add("queue", p.Queue)
	add("mailbox.storage", p.Mailbox.Storage)
	if n := p.Mailbox.Notifier; n != nil {
		add("mailbox.notifier.base_url", n.BaseURL)
		add("mailbox.notifier.auth_header", mask(n.AuthHeader))
		add("mailbox.notifier.secret", mask(n.Secret))
	}
	add("runtime", p.Runtime)
	add("retry.max_attempts", p.Retry.MaxAttempts)
	add("retry.backoff", time.Duration(p.Retry.Backoff))
	add("executor.type", p.Executor.Type)
	switch p.Executor.Type {
	case ExecutorExec:
		add("executor.command", p.Executor.Command)
		add("executor.work_dir", p.Executor.WorkDir)
		add("executor.env", p.Executor.Env)
		add("executor.kill_grace", p.Executor.KillGrace)
		add("executor.max_log_bytes", p.Executor.MaxLogBytes)
	case ExecutorHTTP:
		add("executor.url", p.Executor.URL)
		for name := range p.Executor.Headers {
			add("executor.headers."+name, masked)
		}
	case ExecutorSimulate, ExecutorWorker:
	}
}

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

func mask(secret string) string {
	if secret == "" {
		return ""
	}
	return masked
}

// redact takes the password out of a DSN or URL, in either form that Postgres knows.
func redact(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), masked)
			return strings.Replace(u.String(), url.QueryEscape(masked), masked, 1)
		}
	}
	return regexp.MustCompile(`(?i)(password\s*=\s*)('[^']*'|\S+)`).ReplaceAllString(dsn, "${1}"+masked)
}
