package postgres_test

import (
	"errors"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// TestNobodyElsesFunctionsAreCalled: a role that may create objects in the schema of the tables creates functions and
// operators that match the calls better than the system's. None of them may be called with the rights of parkd's role.
func TestNobodyElsesFunctionsAreCalled(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := connect(t, dsn)
	var free string
	const unpinned = `SELECT coalesce(string_agg(proname, ' '), '') FROM pg_proc WHERE proname LIKE 'pl\_%'
		AND NOT coalesce(proconfig::text, '') LIKE '%search_path=pg_catalog, public, pg_temp%'`
	if err := c.QueryRow(t.Context(), unpinned).Scan(&free); err != nil || free != "" {
		t.Errorf("these functions look wherever the session does: %s %v", free, err)
	}
	exec(t, c, "DROP ROLE IF EXISTS hostile")
	exec(t, c, "CREATE ROLE hostile")
	exec(t, c, "GRANT CREATE, USAGE ON SCHEMA public TO hostile")
	exec(t, c, "SET ROLE hostile")
	for signature, returns := range map[string]string{
		"unnest(pl_job[])": "SETOF pl_job", "unnest(pl_change[])": "SETOF pl_change", "unnest(pl_event[])": "SETOF pl_event",
		"unnest(pl_message[])": "SETOF pl_message", "unnest(text[])": "SETOF text", "unnest(bigint[])": "SETOF bigint",
		"cardinality(text[])": "int", "cardinality(pl_job[])": "int", "cardinality(pl_change[])": "int", "cardinality(pl_event[])": "int",
		"array_position(text[], text)": "int", "array_append(text[], text)": "text[]", "pl_changes(text, float8)": "pl_news",
	} {
		exec(t, c, "CREATE FUNCTION "+signature+" RETURNS "+returns+" LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$")
	}
	for i, o := range [][3]string{{"&", "smallint", "integer"}, {"|", "bigint", "integer"}, {"@>", "text[]", "text[]"}, {"||", "text[]", "text"}, {"=", "oid", "regclass"}} {
		name := "planted_" + string(rune('a'+i))
		result := map[string]string{"&": "integer", "|": "bigint", "@>": "boolean", "||": "text[]", "=": "boolean"}[o[0]]
		exec(t, c, "CREATE FUNCTION "+name+"("+o[1]+", "+o[2]+") RETURNS "+result+" LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$")
		exec(t, c, "CREATE OPERATOR "+o[0]+" (LEFTARG = "+o[1]+", RIGHTARG = "+o[2]+", FUNCTION = "+name+")")
	}
	exec(t, c, "RESET ROLE")
	defer exec(t, c, "DROP ROLE hostile")
	defer exec(t, c, "DROP OWNED BY hostile CASCADE")

	s := openAt(t, dsn)
	f := storetest.NewModel("gpu")
	f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, "1")
	first := f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	f.Start(first.TaskID)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Error(err)
	}
	if _, err := s.ChangesSince(t.Context(), "gpu", 0); err != nil {
		t.Error(err)
	}
	if _, err := s.RequestTurn(t.Context(), "gpu", "n", store.Delegation{Note: []byte("x")}); err != nil {
		t.Error(err)
	}
	for _, q := range []park.AuditQuery{{}, {PoolID: "gpu"}, {TaskID: first.TaskID}, {Tenant: first.Tenant}, {Action: park.ActFail}} {
		q.Limit = 10
		if _, err := s.Events(t.Context(), q); err != nil {
			t.Error(err)
		}
	}
	if err := s.AckOutbox(t.Context(), []int64{1}, nil); err != nil {
		t.Error(err)
	}
	if _, err := s.PruneEvents(t.Context(), f.Now(), 10); err != nil {
		t.Error(err)
	}
	if _, err := s.PruneMessages(t.Context(), f.Now(), 10); err != nil {
		t.Error(err)
	}
}

// TestSecondSchemaDoesNotTakeOver: another schema that is first in the search path has tables like parkd's.
func TestSecondSchemaDoesNotTakeOver(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := connect(t, dsn)
	exec(t, c, "CREATE SCHEMA parkd") // has the name of the role
	exec(t, c, "CREATE TABLE parkd.pl_migrations AS TABLE public.pl_migrations")
	exec(t, c, "CREATE TABLE parkd.pl_pools (LIKE public.pl_pools)")
	err := openAt(t, dsn).Check(t.Context())
	if _, unfit := errors.AsType[*postgres.UnfitError](err); !unfit {
		t.Errorf("with tables in two schemas: %v", err)
	}
	if err := openAt(t, dsn+" search_path=public").Check(t.Context()); err != nil {
		t.Errorf("with the right one named: %v", err)
	}
}
