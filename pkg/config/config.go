// Package config reads what an operator wants: one file (JSON, YAML or TOML), the environment, and flags.
//
// All faults are found at once, each with its path in the file and what would be right. Keys keep their
// spelling, and a key that nobody knows is a fault.
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

// Config is a configuration that has been checked.
type Config struct {
	Source       string // the file it came from; "" for none
	StateDir     string // the user's folder of state; "" for none
	Listen       string // host:port; "" for the socket alone
	Socket       string // path; "" for none
	Audit        park.Backend
	File         FileBackend
	Postgres     PostgresBackend
	Pools        []Pool // by name
	Tokens       []Token
	AllowedHosts []string      // further names under which the daemon may be addressed, as behind a proxy
	Retention    time.Duration // of ended tasks, messages, events and logs; 0: for ever
	DrainTimeout time.Duration
	NodeTTL      time.Duration // how long a node that shares a database may be silent before the others take it for dead

	// DefaultSocket says that the socket is where the command line looks first.
	DefaultSocket bool

	from     map[string]string // where each scalar came from
	settings []Setting
}

// FileBackend is the SQLite backend.
type FileBackend struct{ Path string }

// PostgresBackend is the Postgres backend.
type PostgresBackend struct {
	DSN    string
	Notify bool // nodes give each other hints
	// Others are the databases of pools that have one of their own, by the name of their backend.
	Others map[park.Backend]string

	places map[park.Backend]string // where in the file the DSN of each of the others stands
}

// of returns the DSN of a Postgres backend.
func (p *PostgresBackend) of(b park.Backend) string {
	if b == park.Postgres {
		return p.DSN
	}
	return p.Others[b]
}

// DSN returns the DSN of a backend of the kind Postgres.
func (c *Config) DSN(b park.Backend) string { return c.Postgres.of(b) }

// DSNPlace returns where the DSN of a backend of the kind Postgres stands, for a [Fault].
func (c *Config) DSNPlace(b park.Backend) string {
	if place := c.Postgres.places[b]; place != "" {
		return place
	}
	return c.Place("backends.postgres.dsn")
}

// Place returns where the value of a setting came from that flags and the environment can give too, for a [Fault]: the
// flag, the variable, or the path in the file.
func (c *Config) Place(path string) string {
	if _, name, ok := strings.Cut(c.from[path], " "); ok {
		return name
	}
	return path
}

// Token lets its bearer in. Only its hash is kept.
type Token struct {
	Name   string
	Tenant string // the only tenant that the bearer sees; "" for all
	Role   TokenRole
	SHA256 [32]byte
}

// TokenRole is what a token is for; "" opens all that its tenant sees.
type TokenRole string

// RoleMetrics opens GET /metrics and nothing else.
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
	Idle           bool // this node starts none of its tasks
}

// Mailbox says where a pool's messages are kept and who is told of them.
type Mailbox struct {
	Storage  park.Backend
	Notifier *Notifier // nil for none
}

// Notifier is an HTTP address that is told of each message.
type Notifier struct {
	BaseURL    string
	AuthHeader string // value of the header Authorization; "" for none
	Secret     string // signs the body; "" for no signature
}

// ExecutorType says what a start does.
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

// Executor is the configuration of what a start does.
type Executor struct {
	Type ExecutorType

	// Of exec.
	Command     []string // fixed by the operator; empty where each task brings its own
	WorkDir     string
	Env         []string // NAME passes the daemon's variable on, NAME=VALUE sets one
	KillGrace   time.Duration
	MaxLogBytes int64
	// MaxReplyBytes bounds the reply that an http executor takes.
	MaxReplyBytes int64

	// Of http.
	URL     string
	Headers map[string]string
}

// Spec returns the pool as the engine knows it.
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

// Common returns what all nodes that share the pool should have alike beside its [Pool.Spec]. A folder on a node is that
// node's own.
func (p Pool) Common() any {
	x := p.Executor
	x.WorkDir = ""
	return struct {
		Executor Executor
		Notifier *Notifier
	}{x, p.Mailbox.Notifier}
}

// Backends returns the backends that are in use, each once.
func (c *Config) Backends() []park.Backend {
	all := []park.Backend{c.Audit}
	for _, p := range c.Pools {
		all = append(all, p.Queue, p.Mailbox.Storage)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A Fault is one thing that is wrong.
type Fault struct {
	Path    string `json:"path"`    // such as pools.gpu.max_units; a flag's or variable's name where it came from there
	Problem string `json:"problem"` // says what would be right
}

// Faults is all that is wrong with a configuration.
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

// Setting is one value and where it came from.
type Setting struct {
	Path  string `json:"path"`
	Value string `json:"value"` // what is not known to be harmless is masked
	From  string `json:"from"`  // default, file, environment PARKD_…, flag --…

	dsn string // the value, where it is the address of a database
}

// Show returns every setting, in the order of a file. The address of a database is shown as describe returns it, which knows
// what in it is harmless.
func (c *Config) Show(describe func(dsn string) string) []Setting {
	all := slices.Clone(c.settings)
	for i := range all {
		if dsn := all[i].dsn; dsn != "" {
			all[i].Value = describe(dsn)
		}
	}
	return all
}
