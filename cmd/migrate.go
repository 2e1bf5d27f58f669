package cmd

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/daemon"
	"github.com/parkd-dev/parkd/pkg/park"
)

type migrateOptions struct {
	file   string
	db     string
	dsn    string
	dryRun bool
	force  bool
}

func newMigrateCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Show and change the schema of the database",
		Long: `Shows and changes the schema of the database that --dsn or --db names, or else of the databases in the
configuration. Without a configuration it uses the Postgres database that PARKD_POSTGRES_DSN names, or else the
SQLite file of 'parkd serve'.

'parkd serve' migrates a SQLite file itself, if no other daemon has the file open. A Postgres database is migrated
with this command, once for all nodes. To go back to an older parkd, use 'parkd migrate down'.`,
		Example: "  parkd migrate up --dsn postgres://user@host/parking\n  parkd migrate status\n  parkd migrate up --dry-run\n  parkd migrate down --db ./parkd.db",
		RunE:    runGroup,
	}
	c.AddCommand(
		newMigrateStep(g, daemon.Up, "Apply all pending migrations",
			"Applies all migrations that this parkd has and the database does not have yet."),
		newMigrateStep(g, daemon.Down, "Roll back the last migration",
			`Rolls back the last migration and deletes the data that only the newer schema can hold.

The rollback is refused, with exit code 1 and without any change, while a daemon uses the database: it has the
file open, it has sent a heartbeat recently, or it is connected. It is also refused if it would delete rows of
pools, tasks, messages, events or the outbox. The error then gives the number of rows per table, and --force
rolls back all the same. --dry-run reports the same, with the same exit code, and changes nothing.`),
		newMigrateStep(g, daemon.Status, "Show the migrations",
			"Lists the migrations of this parkd and of the database, and when each was applied. Changes nothing."),
	)
	setExitCodes(c, exitDone, exitUsage)
	return c
}

func newMigrateStep(g *globals, to daemon.Direction, short, long string) *cobra.Command {
	var o migrateOptions
	c := &cobra.Command{
		Use: string(to) + " [flags]", Short: short, Long: long, Args: noArgs,
		Example: "  parkd migrate " + string(to) + "\n  parkd migrate " + string(to) + " --db ./parkd.db",
		RunE:    g.run(func(ctx context.Context, _ []string) error { return runMigrate(ctx, g, o, to) }),
	}
	fs := c.Flags()
	fs.StringVarP(&o.file, "config", "c", "", "configuration file that names the databases")
	fromEnv(fs, "config", "PARKD_CONFIG")
	fs.StringVar(&o.db, "db", "", "path of the SQLite file")
	fs.StringVar(&o.dsn, "dsn", "", "address of the Postgres database")
	mark(fs, isPath, "config", "db")
	if to != daemon.Status {
		fs.BoolVar(&o.dryRun, "dry-run", false, "only print what would be done")
	}
	if to == daemon.Down {
		fs.BoolVar(&o.force, "force", false, "roll back even if that deletes rows")
	}
	_ = c.MarkFlagFilename("config", "json", "yaml", "yml", "toml")
	setExitCodes(c, exitDone, exitFailed, exitUsage)
	return c
}

// target returns a configuration of the selected databases.
func (o *migrateOptions) target(g *globals) (*config.Config, error) {
	switch {
	case o.dsn != "" && o.db != "":
		return nil, usagef("give --db or --dsn, not both")
	case o.dsn != "":
		return &config.Config{Audit: park.Postgres, Postgres: config.PostgresBackend{DSN: o.dsn}}, nil
	case o.db != "":
		return &config.Config{Audit: park.File, File: config.FileBackend{Path: o.db}}, nil
	}
	c, err := config.Load(config.Options{File: o.file, Env: g.getenv})
	dsn := g.getenv("PARKD_POSTGRES_DSN")
	if err != nil || o.file != "" || dsn == "" || usesPostgres(c) {
		return c, err
	}
	// The variable asks for a Postgres database: no other may be changed instead.
	if c.Source != "" || g.getenv("PARKD_DB") != "" {
		return nil, usagef("PARKD_POSTGRES_DSN names a Postgres database, but %s does not use Postgres: choose the database with --dsn, --db or --config",
			cmp.Or(c.Source, "PARKD_DB"))
	}
	return &config.Config{Audit: park.Postgres, Postgres: config.PostgresBackend{DSN: dsn}}, nil
}

func usesPostgres(c *config.Config) bool {
	return slices.ContainsFunc(c.Backends(), func(b park.Backend) bool { return b.Kind() == park.Postgres })
}

func runMigrate(ctx context.Context, g *globals, o migrateOptions, to daemon.Direction) error {
	c, err := o.target(g)
	if err != nil {
		return err
	}
	all, err := daemon.Migrate(ctx, c, daemon.MigrateOptions{To: to, DryRun: o.dryRun, Force: o.force})
	if err != nil {
		return explainRefusal(err)
	}
	if len(all) == 0 && g.output.forPeople() {
		g.notice("There is nothing to do.")
		return nil
	}
	page := migrationPage{Migrations: make([]migration, len(all)), DryRun: o.dryRun}
	for i, m := range all {
		page.Migrations[i] = migration{m.Backend, m.Version, m.Name, park.At(m.AppliedAt), rowsOf(m.Gone)}
		if len(m.Gone) > 0 && g.output.forPeople() {
			g.notice("Rolling back %s deletes %s.", m.Name, migrations.DescribeDeleted(m.Gone))
		}
	}
	return migrationList().print(g.printer(), page, page.Migrations)
}

// explainRefusal explains why a migration is not rolled back.
func explainRefusal(err error) error {
	if _, ok := errors.AsType[*migrations.InUseError](err); ok {
		return &cliError{Code: exitFailed, Name: "database_in_use", Err: err}
	}
	if _, ok := errors.AsType[*migrations.DataLossError](err); ok {
		return &cliError{Code: exitFailed, Name: "rows_would_go", Err: err, Hint: "Make a backup, then use --force to roll back and delete these rows."}
	}
	return err
}

func rowsOf(gone []migrations.DeletedRows) map[string]int64 {
	rows := make(map[string]int64, len(gone))
	for _, g := range gone {
		rows[g.Table] = g.Rows
	}
	return rows
}

// migration is the printed form of a migration.
type migration struct {
	Backend   park.Backend `json:"backend"`
	Version   int64        `json:"version"`
	Name      string       `json:"name"`
	AppliedAt park.Time    `json:"appliedAt,omitzero"`
	// Rows counts the deleted rows by table.
	Rows map[string]int64 `json:"rowsGone,omitempty"`
}

type migrationPage struct {
	Migrations []migration `json:"migrations"`
	DryRun     bool        `json:"dryRun,omitempty"`
}

func migrationList() listing[migration] {
	return listing[migration]{
		id: func(m migration) string { return strconv.FormatInt(m.Version, 10) },
		columns: []column[migration]{
			{name: "backend", cell: func(_ *printer, m migration) string { return string(m.Backend) }},
			{name: "version", right: true, cell: func(_ *printer, m migration) string { return strconv.FormatInt(m.Version, 10) }},
			{name: "name", cell: func(_ *printer, m migration) string { return m.Name }},
			{name: "applied", cell: func(p *printer, m migration) string { return p.when(m.AppliedAt) }},
		},
	}
}
