package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// TestSettingsOfTheRoleHarmNothing gives the database settings that would break steps.
func TestSettingsOfTheRoleHarmNothing(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := connect(t, dsn)
	var name string
	if err := c.QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	for setting, value := range map[string]string{
		"default_transaction_isolation": "serializable", "client_encoding": "LATIN1", "synchronous_commit": "off",
	} {
		exec(t, c, "ALTER DATABASE "+name+" SET "+setting+" = '"+value+"'")
	}
	s := openAt(t, dsn)
	for setting, want := range map[string]string{"default_transaction_isolation": "read committed", "client_encoding": "UTF8"} {
		if got, err := s.Setting(t.Context(), setting); err != nil || got != want {
			t.Errorf("%s is %s, want %s: %v", setting, got, want, err)
		}
	}
	f := storetest.NewModel("gpu")
	f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Error(err)
	}
	// Through a pooler a connection cannot set its settings, so they are checked.
	err := openAt(t, newPooler(t, dsn)).Check(t.Context())
	if unfit, ok := errors.AsType[*postgres.UnfitError](err); !ok || !strings.Contains(unfit.Problem, "ALTER ROLE") {
		t.Errorf("behind a pooler: %v", err)
	}
}

// TestOtherEncodingIsRefused has a database that cannot store all texts.
func TestOtherEncodingIsRefused(t *testing.T) {
	c := connect(t, cluster.Empty(t))
	exec(t, c, "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
	dsn := cluster.Server().DSN("bytes")
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err == nil || !strings.Contains(err.Error(), "UTF8") {
		t.Errorf("migrated: %v", err)
	}
}

// TestMigrationsTakenBackAndAppliedAgain rolls back and applies the migrations while a store is open. The types then
// have other OIDs.
func TestMigrationsTakenBackAndAppliedAgain(t *testing.T) {
	dsn := cluster.Migrated(t)
	s := openAt(t, dsn+" application_name=unseen")
	step := func() error {
		f := storetest.NewModel("gpu")
		f.Submit(nil)
		return s.Commit(t.Context(), f.Next())
	}
	if err := step(); err != nil {
		t.Fatal(err)
	}
	for last := true; last; {
		m, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{Force: true})
		if err != nil {
			t.Fatal(err)
		}
		last = m != nil
	}
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
		t.Fatal(err)
	}
	if err := step(); err != nil {
		t.Error(err)
	}
}
