// Package config reads the configuration of a daemon: one file (JSON, YAML or TOML), the environment, and flags.
//
// All faults are reported at once, each with its path in the file and what is allowed there. Keys keep their
// spelling, and an unknown key is a fault.
//
// The Go package is no API: it may change with any release.
package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Config is a checked configuration.
type Config struct {
	Source       string // the file it came from; "" for none
	StateDir     string // the user's folder of state; "" for none
	Listen       string // host:port; "" for only the socket
	Socket       string // path; "" for none
	Audit        park.Backend
	File         FileBackend
	Postgres     PostgresBackend
	Pools        []Pool // by name
	Tokens       []Token
	AllowedHosts []string      // additional names of the daemon, for example behind a proxy
	Retention    time.Duration // of ended tasks, messages, events and logs; 0: for ever
	DrainTimeout time.Duration
	NodeTTL      time.Duration // how long a node that shares a database may go without a heartbeat before the others declare it dead

	// DefaultSocket is set if the command line looks for this socket first.
	DefaultSocket bool

	origins  map[string]string // the origin of each scalar
	settings []Setting
}

// FileBackend is the SQLite backend.
type FileBackend struct{ Path string }

// PostgresBackend is the Postgres backend.
type PostgresBackend struct {
	DSN    string
	Notify bool // nodes send each other hints
	// Others are the separate databases of pools, by the names of their backends.
	Others map[park.Backend]string

	dsnPaths map[park.Backend]string // the paths in the file of the DSNs of Others
}

// dsnOf returns the DSN of a Postgres backend.
func (p *PostgresBackend) dsnOf(b park.Backend) string {
	if b == park.Postgres {
		return p.DSN
	}
	return p.Others[b]
}

// DSN returns the DSN of a backend of kind Postgres.
func (c *Config) DSN(b park.Backend) string { return c.Postgres.dsnOf(b) }

// DSNPath returns the path of the DSN of a Postgres backend in the file, for a [Fault].
func (c *Config) DSNPath(b park.Backend) string {
	if place := c.Postgres.dsnPaths[b]; place != "" {
		return place
	}
	return c.Place("backends.postgres.dsn")
}

// Place returns the origin of a setting that a flag or the environment can also set, for a [Fault]: the flag, the
// variable, or the path in the file.
func (c *Config) Place(path string) string {
	if _, name, ok := strings.Cut(c.origins[path], " "); ok {
		return name
	}
	return path
}

// Token grants its bearer access. Only its hash is kept.
type Token struct {
	Name   string
	Tenant string // the only tenant that the bearer sees; "" for all
	Role   TokenRole
	SHA256 [32]byte
}

// TokenRole says what a token may be used for. "" allows everything that its tenant sees.
type TokenRole string

// RoleMetrics allows only GET /metrics.
const RoleMetrics TokenRole = "metrics"

// Pool is the configuration of one pool.
type Pool struct {
	Name           string
	Kind           park.Kind
	MaxUnits       int64
	MaxResultBytes int64
	MaxQueueDepth  int
	DefaultTimeout time.Duration // 0: no limit
	Queue          park.Backend
	Mailbox        Mailbox
	Runtime        park.Runtime
	Executor       Executor
	Retry          park.Retry
	Idle           bool // this node starts none of the pool's tasks
}

// Mailbox says where a pool's messages are kept, and who is notified of them.
type Mailbox struct {
	Storage  park.Backend
	Notifier *Notifier // nil for none
}

// Notifier is an HTTP address to which each message is sent.
type Notifier struct {
	BaseURL    string
	AuthHeader string // value of the header Authorization; "" for none
	Secret     string // signs the body; "" for no signature
}

// ExecutorType says how a task is run.
type ExecutorType string

// The types of an executor.
const (
	ExecutorExec     ExecutorType = "exec"     // runs a command
	ExecutorHTTP     ExecutorType = "http"     // posts the payload
	ExecutorSimulate ExecutorType = "simulate" // passes time
	ExecutorWorker   ExecutorType = "worker"   // waits for a worker to lease the task
)

func executorTypes() []ExecutorType {
	return []ExecutorType{ExecutorExec, ExecutorHTTP, ExecutorSimulate, ExecutorWorker}
}

// Executor configures how tasks are run.
type Executor struct {
	Type ExecutorType

	// For exec.
	Command     []string // fixed by the operator; empty if each task has its own
	WorkDir     string
	Env         []string // NAME passes the daemon's variable on, NAME=VALUE sets a variable
	KillGrace   time.Duration
	MaxLogBytes int64
	// MaxReplyBytes bounds the reply that an http executor accepts.
	MaxReplyBytes int64

	// For http.
	URL     string
	Headers map[string]string
}

// Spec returns the pool in the engine's form.
func (p Pool) Spec() park.PoolSpec {
	worker := p.Executor.Type == ExecutorWorker
	exec := p.Executor.Type == ExecutorExec && len(p.Executor.Command) == 0
	return park.PoolSpec{
		ID: p.Name, Kind: p.Kind, MaxUnits: p.MaxUnits, MaxQueueDepth: p.MaxQueueDepth, DefaultTimeout: p.DefaultTimeout,
		MaxResultBytes: p.MaxResultBytes,
		Retry:          p.Retry, Runtime: p.Runtime, Executor: string(p.Executor.Type),
		QueueBackend: p.Queue, MailboxBackend: p.Mailbox.Storage,
		TakesCommands: exec || worker, NeedsCommand: exec,
	}
}

// Common returns what should be the same on all nodes that share the pool, in addition to its [Pool.Spec]. The folders
// of a node are its own.
func (p Pool) Common() any {
	x := p.Executor
	x.WorkDir = ""
	return struct {
		Executor Executor
		Notifier *Notifier
	}{x, p.Mailbox.Notifier}
}

// Backends returns each backend in use once.
func (c *Config) Backends() []park.Backend {
	all := []park.Backend{c.Audit}
	for _, p := range c.Pools {
		all = append(all, p.Queue, p.Mailbox.Storage)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Fault is one error in a configuration.
type Fault struct {
	Path    string `json:"path"`    // such as pools.gpu.max_units, or the name of the flag or variable that set it
	Problem string `json:"problem"` // says what is allowed
}

// Faults is all errors in a configuration.
type Faults []Fault

// Error implements error.
func (f Faults) Error() string {
	var b strings.Builder
	for i, one := range f {
		if i > 0 {
			b.WriteByte('\n')
		}
		if one.Path != "" {
			fmt.Fprintf(&b, "%s: ", one.Path)
		}
		b.WriteString(one.Problem)
	}
	return b.String()
}

// Setting is one value and its origin.
type Setting struct {
	Path  string `json:"path"`
	Value string `json:"value"` // masked unless it is known to be harmless
	From  string `json:"from"`  // default, file, environment PARKD_…, flag --…

	dsn string // the value, if it is the address of a database
}

// Show returns all settings in the order of a file. describe returns the form in which the address of a database is
// shown, since it knows which parts are harmless.
func (c *Config) Show(describe func(dsn string) string) []Setting {
	all := slices.Clone(c.settings)
	for i := range all {
		if dsn := all[i].dsn; dsn != "" {
			all[i].Value = describe(dsn)
		}
	}
	return all
}
