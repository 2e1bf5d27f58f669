package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/storetest"
)

// TestNewsOfAnotherForm cuts off and spoils what the server says of a pool that has moved on: it is refused or read, and
// nothing worse.
func TestNewsOfAnotherForm(t *testing.T) {
	dsn := cluster.Migrated(t)
	s, c := openAt(t, dsn), connect(t, dsn)
	f := storetest.NewFeed("gpu")
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
	if n, err := postgres.ReadNews("gpu", whole); err != nil || n.Row.Rev != 3 || len(n.Changed) != 4 {
		t.Fatalf("the whole: %+v, %v", n, err)
	}
	for i := range whole {
		if n, err := postgres.ReadNews("gpu", whole[:i]); err == nil {
			t.Errorf("%d of %d bytes are read as %+v", i, len(whole), n)
		}
		spoiled := append([]byte(nil), whole...)
		for _, b := range []byte{0xff, 0x80, 0x01} {
			spoiled[i] ^= b
			_, _ = postgres.ReadNews("gpu", spoiled)
		}
	}
}
