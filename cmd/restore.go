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
		Short: "Put a backup in the place of the SQLite file",
		Long: `Puts a backup in the place of the configuration's SQLite file, at once or not at all, and takes away
the write-ahead log of the old one, which would destroy it. The backup is checked first, and stays as it is.
What was there before is kept beside it under another name.

Refuses while a daemon has the file open: stop it first. What was accepted since the backup is gone.`,
		Example: "  parkd restore parkd-2026-12-01.db\n  parkd restore --db ./parkd.db /mnt/backup/parkd.db",
		Args:    cobra.ExactArgs(1),
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
			g.say("What was there before is now %s.", kept)
		}
		return nil
	})
	fileFlags(c, &o)
	exits(c, exitDone, exitFailed, exitUsage)
	return c
}
