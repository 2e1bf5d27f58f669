package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/daemon"
)

func newRestoreCommand(g *globals) *cobra.Command {
	var o migrateOptions
	c := &cobra.Command{
		Use:   "restore [flags] FILE",
		Short: "Replace the SQLite database with a backup",
		Long: `Replaces the configuration's SQLite database with a backup, either completely or not at all. The backup is checked
first and is not changed. The old database is kept beside it under another name, with its write-ahead log, which
would otherwise be applied to the backup.

The command refuses while a daemon has the file open: stop the daemon first. Everything that was accepted since
the backup is lost.`,
		Example: "  parkd restore parkd-2026-12-01.db\n  parkd restore --db ./parkd.db /mnt/backup/parkd.db",
		Args:    exactlyOne("FILE"),
	}
	c.RunE = g.run(func(ctx context.Context, args []string) error {
		cfg, err := o.target(g)
		if err != nil {
			return err
		}
		kept, err := daemon.Restore(ctx, cfg, args[0])
		if err != nil {
			return err
		}
		if kept != "" {
			g.notice("The old database is now %s.", kept)
		}
		return nil
	})
	fileFlags(c, &o)
	setExitCodes(c, exitDone, exitFailed, exitUsage)
	return c
}
