package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/daemon"
)

func newBackupCommand(g *globals) *cobra.Command {
	var o migrateOptions
	c := &cobra.Command{
		Use:   "backup [flags] FILE",
		Short: "Copy the SQLite database while the daemon runs",
		Long: `Writes a consistent copy of the configuration's SQLite database to a new file: tasks, mailboxes and the audit
log. The daemon keeps running. The copy is checked before it gets its name, so a file with that name is complete.

Logs of commands are not included. Use pg_dump to back up a Postgres database.`,
		Example: "  parkd backup parkd-$(date +%F).db\n  parkd backup --db ./parkd.db /mnt/backup/parkd.db",
		Args:    exactlyOne("FILE"),
	}
	c.RunE = g.run(func(ctx context.Context, args []string) error {
		cfg, err := o.target(g)
		if err != nil {
			return err
		}
		elsewhere, err := daemon.Backup(ctx, cfg, args[0])
		if err != nil {
			return err
		}
		if elsewhere {
			g.notice("The backup does not include the data in Postgres. Use pg_dump for that.")
		}
		return nil
	})
	fileFlags(c, &o)
	setExitCodes(c, exitDone, exitFailed, exitUsage)
	return c
}

// fileFlags declares the flags that select the SQLite file.
func fileFlags(c *cobra.Command, o *migrateOptions) {
	fs := c.Flags()
	fs.StringVarP(&o.file, "config", "c", "", "configuration file that names the SQLite file")
	fromEnv(fs, "config", "PARKD_CONFIG")
	fs.StringVar(&o.db, "db", "", "path of the SQLite file")
	_ = c.MarkFlagFilename("config", "json", "yaml", "yml", "toml")
	_ = c.MarkFlagFilename("db")
}
