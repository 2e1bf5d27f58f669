// Package park holds the words of parkd: tasks, pools, messages, events, leases, and the [Service] that offers them.
//
// Everything else in the program depends on this package and it depends on nothing but the standard library.
// Its types are the wire format (JSON, camelCase) and the vocabulary of the scheduler, the stores and the
// command line at once, so a thing has one name and one shape everywhere.
package park

import (
	"fmt"
	"strings"
)

// Status is where a task stands: queued → running → completed | failed; queued → expired | dropped;
// running → dropped, which is a running task that was cancelled.
type Status string

// The statuses of a task.
const (
	Queued    Status = "queued"
	Running   Status = "running"
	Completed Status = "completed"
	Failed    Status = "failed"
	Expired   Status = "expired"
	Dropped   Status = "dropped"
)

// Statuses lists every status, live ones first.
func Statuses() []Status { return []Status{Queued, Running, Completed, Failed, Expired, Dropped} }

// Ended reports whether s is final.
func (s Status) Ended() bool { return s != Queued && s != Running }

// ParseStatus returns the status called s.
func ParseStatus(s string) (Status, error) {
	return oneOf("status", s, Statuses())
}

// Priority orders the parked tasks of a pool: critical first. The zero value is Normal.
type Priority int8

// The priorities, which are also the classes of a pool's lot.
const (
	Low      Priority = -1
	Normal   Priority = 0
	High     Priority = 1
	Critical Priority = 2
)

// Priorities lists every priority, the most urgent first.
func Priorities() []Priority { return []Priority{Critical, High, Normal, Low} }

// String returns the priority's name.
func (p Priority) String() string {
	switch p {
	case Low:
		return "low"
	case Normal:
		return "normal"
	case High:
		return "high"
	case Critical:
		return "critical"
	}
	return fmt.Sprintf("Priority(%d)", int8(p))
}

// ParsePriority returns the priority called s.
func ParsePriority(s string) (Priority, error) {
	for _, p := range Priorities() {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("priority must be one of low, normal, high, critical, not %q", s)
}

// MarshalText implements [encoding.TextMarshaler].
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Priority) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePriority(string(b))
	return err
}

// Kind says what a pool's units stand for.
type Kind string

// The kinds of a pool.
const (
	CPU     Kind = "cpu"
	GPUVram Kind = "gpuVram"
	IO      Kind = "io"
	Mixed   Kind = "mixed"
)

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{CPU, GPUVram, IO, Mixed} }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *Kind) UnmarshalText(b []byte) (err error) {
	*k, err = oneOf("kind", string(b), Kinds())
	return err
}

// Runtime says where a pool's work is done.
type Runtime string

// The runtimes: by this daemon, or by workers that lease tasks.
const (
	Native      Runtime = "native"
	WebWorker   Runtime = "web_worker"
	CloudWorker Runtime = "cloud_worker"
)

// Leased reports whether the pool's tasks start when a worker leases them.
func (r Runtime) Leased() bool { return r == WebWorker || r == CloudWorker }

// Backend names the kind of store behind a queue, a mailbox or the audit log.
type Backend string

// The backends.
const (
	InMemory Backend = "in_memory"
	File     Backend = "file"
	Postgres Backend = "postgres"
)

// Kind returns what sort of backend b is: of a further Postgres database, named "postgres:" and a mark of its own, it
// is Postgres.
func (b Backend) Kind() Backend {
	kind, _, _ := strings.Cut(string(b), ":")
	return Backend(kind)
}

// Backends lists every kind of backend.
func Backends() []Backend { return []Backend{InMemory, File, Postgres} }

func oneOf[T ~string](field, s string, all []T) (T, error) {
	for _, v := range all {
		if s == string(v) {
			return v, nil
		}
	}
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = string(v)
	}
	return "", fmt.Errorf("%s must be one of %s, not %q", field, strings.Join(names, ", "), s)
}
