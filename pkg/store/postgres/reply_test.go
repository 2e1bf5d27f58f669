package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// TestMalformedReply truncates and changes a reply. Decoding may fail or succeed, but must not panic.
func TestMalformedReply(t *testing.T) {
	dsn := cluster.Migrated(t)
	s, c := openAt(t, dsn), connect(t, dsn)
	f := storetest.NewModel("gpu")
	for range 3 {
		f.Submit(nil)
		f.End(f.Start(f.Submit(nil).TaskID).TaskID, "completed", "1")
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := c.Query(t.Context(), "SELECT pl_changes('gpu', 1)", pgx.QueryResultFormats{pgx.BinaryFormatCode})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) ([]byte, error) {
		return append([]byte(nil), row.RawValues()[0]...), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := postgres.DecodeReply("gpu", whole); err != nil || n.Row.Rev != 3 || len(n.Changed) != 4 {
		t.Fatalf("the whole: %+v, %v", n, err)
	}
	for i := range whole {
		if n, err := postgres.DecodeReply("gpu", whole[:i]); err == nil {
			t.Errorf("%d of %d bytes are read as %+v", i, len(whole), n)
		}
		spoiled := append([]byte(nil), whole...)
		for _, b := range []byte{0xff, 0x80, 0x01} {
			spoiled[i] ^= b
			_, _ = postgres.DecodeReply("gpu", spoiled)
		}
	}
}

// TestReplyHasALimit changes as many tasks as one reply may have, with the longest names. If one more task changes, the
// reply tells the node to reload the pool, which it reads row by row.
func TestReplyHasALimit(t *testing.T) {
	const most = 4096
	dsn := cluster.Migrated(t)
	s, c := openAt(t, dsn), connect(t, dsn)
	f := storetest.NewModel("gpu")
	commit := func(tasks int) {
		for range tasks {
			r := f.Submit(func(r *ledger.Record) {
				r.TaskID += strings.Repeat("x", 128-len(r.TaskID))
				r.Tenant, r.MailboxKey = strings.Repeat("t", park.MaxNameLength), strings.Repeat("k", park.MaxNameLength)
			})
			f.Start(r.TaskID)
			r.Node, r.Lease = strings.Repeat("n", 64), strings.Repeat("l", 300)
		}
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		commit(most / 8)
	}
	var size int
	if err := c.QueryRow(t.Context(), "SELECT octet_length(record_send(pl_changes('gpu', 0)))").Scan(&size); err != nil {
		t.Fatal(err)
	}
	if n, err := s.ChangesSince(t.Context(), "gpu", 0); err != nil || n.Reload || len(n.Changed) != most || size > 8<<20 {
		t.Errorf("the news of %d tasks have %d bytes: %v, %v", most, size, n == nil || n.Reload, err)
	}
	commit(1)
	if n, err := s.ChangesSince(t.Context(), "gpu", 0); err != nil || !n.Reload || len(n.Changed) != 0 {
		t.Errorf("of more tasks: %+v, %v", n, err)
	}
}
