package postgres_test

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

// TestDetailedSince: a database that was created by this release has details of all events. An upgraded one has them
// since the upgrade.
func TestDetailedSince(t *testing.T) {
	dsn := cluster.Migrated(t)
	s := openAt(t, dsn)
	for _, tt := range []struct {
		how  string
		want int64 // seconds
	}{
		{"UPDATE pl_migrations SET tstamp = to_timestamp(1700000000)::timestamp", 0},
		{"UPDATE pl_migrations SET tstamp = to_timestamp(1700003600)::timestamp WHERE version_id = 7", 1700003600},
	} {
		if err := pgtest.Exec(t.Context(), dsn, tt.how); err != nil {
			t.Fatal(err)
		}
		m, err := s.Marks(t.Context(), "gpu")
		if err != nil || m.ToldSince.IsZero() != (tt.want == 0) || tt.want != 0 && m.ToldSince.Unix() != tt.want {
			t.Errorf("%s: told since %s, %v", tt.how, m.ToldSince, err)
		}
	}
}
