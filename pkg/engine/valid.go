package engine

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/internal/keptjson"
	"github.com/parkd-dev/parkd/pkg/park"
)

// The configuration of an engine is checked here whoever wrote it: ids of leases, events and message cursors contain
// the pool's id, and a store keeps them.

// It is compiled at its first use, because clients of parkd never use it.
var poolID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`) })

// FieldError is an invalid field of a [Config].
type FieldError struct {
	Pool    int    // the index of the pool; -1 for a field of the Config itself
	Field   string // for example MaxUnits, Retry.Backoff
	Problem string // says what is valid
}

// Error implements error.
func (e FieldError) Error() string {
	if e.Pool < 0 {
		return e.Field + " " + e.Problem
	}
	return fmt.Sprintf("Pools[%d].%s %s", e.Pool, e.Field, e.Problem)
}

// check joins the errors of Check.
func (c *Config) check() error {
	var errs []error
	for _, e := range c.Check() {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// Check returns the invalid fields, as far as they can be found without stores and executors.
func (c *Config) Check() (all []FieldError) {
	if len(c.Pools) == 0 {
		return []FieldError{{-1, "Pools:", "an engine needs at least one pool"}}
	}
	pool := -1
	wrong := func(field, format string, args ...any) {
		all = append(all, FieldError{pool, field, fmt.Sprintf(format, args...)})
	}
	if c.Store != nil && len(c.Stores) > 0 {
		wrong("Store", "must not be given together with Stores")
	}
	for field, d := range map[string]time.Duration{
		"Retention": c.Retention, "NodeTTL": c.NodeTTL, "NodeGrace": c.NodeGrace, "Patience": c.Patience,
	} {
		if d < 0 {
			wrong(field, "must not be negative, but is %s", d)
		}
	}
	if c.Node != "" && park.CheckName("Node", c.Node) != nil {
		wrong("Node", "must be 1 to %d bytes of printable text, not %q", park.MaxNameLength, c.Node)
	}
	seen := make(map[string]int)
	for i := range c.Pools {
		p := &c.Pools[i]
		pool = i
		if first, duplicate := seen[p.ID]; duplicate {
			wrong("ID", "is %q, as that of Pools[%d]: each pool needs an id of its own", p.ID, first)
		}
		seen[p.ID] = i
		p.check(wrong)
	}
	return all
}

// check reports the invalid fields of a pool.
func (p *Pool) check(wrong func(field, format string, args ...any)) {
	if !poolID().MatchString(p.ID) {
		wrong("ID", "must be 1 to 63 of a-z 0-9 _ - and begin with a letter or digit, not %q", p.ID)
	}
	if p.MaxUnits < 0 || p.MaxUnits > park.MaxUnits {
		wrong("MaxUnits", "must be from 0 to %d, not %d", int64(park.MaxUnits), p.MaxUnits)
	}
	if p.MaxQueueDepth < 0 || p.MaxQueueDepth > park.MaxQueueDepth {
		wrong("MaxQueueDepth", "must be from 0 to %d, not %d", park.MaxQueueDepth, p.MaxQueueDepth)
	}
	if p.DefaultTimeout < 0 || p.DefaultTimeout > park.MaxTimeoutSecs*time.Second || p.DefaultTimeout%time.Second != 0 {
		wrong("DefaultTimeout", "must be whole seconds from 0 to %d, not %s", park.MaxTimeoutSecs, p.DefaultTimeout)
	}
	if p.Retry.MaxAttempts < 0 || p.Retry.MaxAttempts > 1000 {
		wrong("Retry.MaxAttempts", "must be from 0 to 1000, not %d", p.Retry.MaxAttempts)
	}
	if p.Retry.Backoff < 0 {
		wrong("Retry.Backoff", "must not be negative, but is %s", time.Duration(p.Retry.Backoff))
	}
	if p.Kind != "" && !slices.Contains(park.Kinds(), p.Kind) {
		wrong("Kind", "must be one of %v, not %q", park.Kinds(), p.Kind)
	}
	if r := p.Runtime; r != "" && r != park.Native && !r.Leased() {
		wrong("Runtime", "must be %s, %s or %s, not %q", park.Native, park.WebWorker, park.CloudWorker, r)
	}
}

// checkResult refuses a worker's result that could not be read again.
func checkResult(r *park.LeaseResult) error {
	if len(r.Payload) > 0 {
		if err := keptjson.Check(r.Payload); err != nil {
			return park.Errorf(park.InvalidRequest, "payload %v", err)
		}
	}
	for field, text := range map[string]string{"reason": r.Reason, "message": r.Message} {
		if !storable(text) {
			return park.Errorf(park.InvalidRequest, "%s must be UTF-8 without NUL characters", field)
		}
	}
	return nil
}

// storable reports whether every store can keep a text unchanged.
func storable(text string) bool { return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 }

// checkLimit returns the number of entries of a page if a client asks for n. A client that asks for more than limit
// reads the rest in further pages.
func checkLimit(n, limit int) (int, error) {
	if n < 0 {
		return 0, park.Errorf(park.InvalidRequest, "limit must be at least 1, not %d", n)
	}
	if n == 0 {
		return defaultLimit, nil
	}
	return min(n, limit), nil
}

func checkCursor(cursor string) error {
	if cursor == "" {
		return nil
	}
	if _, _, _, err := park.ParseEventID(cursor); err != nil {
		return park.Errorf(park.InvalidRequest, "cursor %v", err)
	}
	return nil
}
