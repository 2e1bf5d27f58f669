package postgres_test

import (
	"testing"
	"time"
)

// TestHorizon: a transaction with a snapshot is reported with its age and the number of transactions since.
func TestHorizon(t *testing.T) {
	dsn := cluster.Migrated(t)
	s := openAt(t, dsn)
	sendHeartbeat(t, s, "a")
	holdSnapshot(t, dsn)
	before, err := s.Horizon(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	for range 20 {
		sendHeartbeat(t, s, "a")
	}
	h, err := s.Horizon(t.Context())
	if err != nil || h.Age <= before.Age || h.Transactions < before.Transactions+20 {
		t.Errorf("%+v after %+v: %v", h, before, err)
	}
	if c := s.Connections(); c.Open < 1 || c.InUse != 0 || c.Max < c.Open {
		t.Errorf("%+v", c)
	}
}
