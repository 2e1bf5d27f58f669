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
		Short: "Copy the SQLite file while the daemon runs",
		Long: `Writes what the SQLite file of the configuration holds at one moment to a new file: tasks, mailboxes and
the audit log. The daemon goes on meanwhile. The new file is whole once it has its name, and is checked before.

Logs of commands are not in it. A Postgres database is backed up with pg_dump.`,
		Example: "  parkd backup parkd-$(date +%F).db\n  parkd backup --db ./parkd.db /mnt/backup/parkd.db",
		Args:    cobra.ExactArgs(1),
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
			g.say("What is kept in Postgres is not in it: use pg_dump for that.")
		}
		return nil
	})
	fileFlags(c, &o)
	exits(c, exitDone, exitFailed, exitUsage)
	return c
}

// fileFlags declares which SQLite file is meant.
func fileFlags(c *cobra.Command, o *migrateOptions) {
	fs := c.Flags()
	fs.StringVarP(&o.file, "config", "c", "", "configuration file that names the SQLite file")
	fromEnv(fs, "config", "PARKD_CONFIG")
	fs.StringVar(&o.db, "db", "", "this SQLite file")
	_ = c.MarkFlagFilename("config", "json", "yaml", "yml", "toml")
	_ = c.MarkFlagFilename("db")
}
