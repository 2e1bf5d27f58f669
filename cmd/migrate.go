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
		Short: "Change the schema of the database",
		Long: `Shows and changes the schema of the database that --dsn or --db names, else of those that the configuration
uses. Without a configuration it is the Postgres database that PARKD_POSTGRES_DSN names, else the SQLite
file of 'parkd serve'.

A SQLite file is brought up to date by 'parkd serve' itself while no daemon has it open; a Postgres database
is, here, for all nodes at once. Going back, for an older parkd, is done here too.`,
		Example: "  parkd migrate up --dsn postgres://user@host/parking\n  parkd migrate status\n  parkd migrate up --dry-run\n  parkd migrate down --db ./parkd.db",
		RunE:    runGroup,
	}
	c.AddCommand(
		newMigrateStep(g, daemon.Up, "Bring the schema to what this parkd needs",
			"Applies every change that this parkd knows and the database does not have yet."),
		newMigrateStep(g, daemon.Down, "Take the last change of the schema back",
			`Takes the last change back, together with the data that only it had room for.

It is refused, with exit code 1 and nothing changed, while a daemon uses the database: one that has the file
open, a node that gave a sign of life, or a daemon that is connected. It is refused too where rows of pools,
tasks, messages, events or the outbox would go; it then says how many of which table, and --force takes the
change back all the same. --dry-run says the same, with the same exit code, and changes nothing.`),
		newMigrateStep(g, daemon.Status, "Show the changes of the schema",
			"Lists the changes that this parkd and the database know, and when they were applied. Changes nothing."),
	)
	exits(c, exitDone, exitUsage)
	return c
}

func newMigrateStep(g *globals, to daemon.Direction, short, long string) *cobra.Command {
	var o migrateOptions
	c := &cobra.Command{
		Use: string(to) + " [flags]", Short: short, Long: long, Args: cobra.NoArgs,
		Example: "  parkd migrate " + string(to) + "\n  parkd migrate " + string(to) + " --db ./parkd.db",
		RunE:    g.run(func(ctx context.Context, _ []string) error { return runMigrate(ctx, g, o, to) }),
	}
	fs := c.Flags()
	fs.StringVarP(&o.file, "config", "c", "", "configuration file that names the databases")
	fromEnv(fs, "config", "PARKD_CONFIG")
	fs.StringVar(&o.db, "db", "", "this SQLite file")
	fs.StringVar(&o.dsn, "dsn", "", "this Postgres database")
	mark(fs, isPath, "config", "db")
	if to != daemon.Status {
		fs.BoolVar(&o.dryRun, "dry-run", false, "only say what would be done")
	}
	if to == daemon.Down {
		fs.BoolVar(&o.force, "force", false, "take the change back although rows go with it")
	}
	_ = c.MarkFlagFilename("config", "json", "yaml", "yml", "toml")
	exits(c, exitDone, exitFailed, exitUsage)
	return c
}

// target is the configuration as far as it concerns databases.
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
	// Whoever sets the variable means a Postgres database: another one must not be changed in its place.
	if c.Source != "" || g.getenv("PARKD_DB") != "" {
		return nil, usagef("PARKD_POSTGRES_DSN names a Postgres database, but %s keeps nothing there: say with --dsn, --db or --config which database is meant",
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
		return refusal(err)
	}
	if len(all) == 0 && g.output.forPeople() {
		g.say("There is nothing to do.")
		return nil
	}
	page := migrationPage{Migrations: make([]migration, len(all)), DryRun: o.dryRun}
	for i, m := range all {
		page.Migrations[i] = migration{m.Backend, m.Version, m.Name, park.At(m.AppliedAt), rowsOf(m.Gone)}
		if len(m.Gone) > 0 && g.output.forPeople() {
			g.say("With %s go %s.", m.Name, migrations.Rows(m.Gone))
		}
	}
	return migrationList().print(g.printer(), page, page.Migrations)
}

// refusal explains why a change of the schema is not taken back.
func refusal(err error) error {
	if _, ok := errors.AsType[*migrations.InUseError](err); ok {
		return &exit{Code: exitFailed, Name: "database_in_use", Err: err}
	}
	if _, ok := errors.AsType[*migrations.LossError](err); ok {
		return &exit{Code: exitFailed, Name: "rows_would_go", Err: err, Hint: "Make a backup; then --force takes the change back with these rows."}
	}
	return err
}

func rowsOf(gone []migrations.Gone) map[string]int64 {
	rows := make(map[string]int64, len(gone))
	for _, g := range gone {
		rows[g.Table] = g.Rows
	}
	return rows
}

// migration is a change of a schema as it is printed.
type migration struct {
	Backend   park.Backend `json:"backend"`
	Version   int64        `json:"version"`
	Name      string       `json:"name"`
	AppliedAt park.Time    `json:"appliedAt,omitzero"`
	// Rows are those that go with it, by table.
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
