package loadtest_test

import (
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/loadtest"
)

// TestLoadtestOnOneDatabase runs load tests of several nodes one after the other on one database. What one leaves there
// must not count against the next.
func TestLoadtestOnOneDatabase(t *testing.T) {
	dsn := loadtest.Cluster.Empty(t)
	program := build(t)
	for _, run := range []struct {
		name string
		loadtest.Options
	}{
		{"with hints", loadtest.Options{}},
		{"without", loadtest.Options{Quiet: true}},
		{"killed", loadtest.Options{Restart: true, Work: 20 * time.Millisecond, Concurrency: 16}},
	} {
		t.Run(run.name, func(t *testing.T) {
			o := run.Options
			o.N, o.Nodes, o.Backend, o.DSN, o.Program, o.Dir = 300, 3, "postgres", dsn, program, t.TempDir()
			r, err := loadtest.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			kept(t, r)
			if r.Accepted == 0 || r.MailboxFoundRatio != 1 {
				t.Errorf("%d accepted, %g found: %v", r.Accepted, r.MailboxFoundRatio, append(r.Offences, r.Notes...))
			}
		})
	}
}
