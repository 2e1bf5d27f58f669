package daemon

import (
	"context"
	"errors"
	"slices"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// errNoFile means that there is no file to back up or to restore.
var errNoFile = errors.New("the configuration does not use a SQLite file; use pg_dump and pg_restore for a Postgres database")

// Backup copies the configuration's SQLite file to a new file; a daemon may be running. elsewhere is true if other data
// is kept in Postgres, which is not in the backup.
func Backup(ctx context.Context, c *config.Config, to string) (elsewhere bool, err error) {
	if elsewhere, err = usesFile(c); err != nil {
		return false, err
	}
	return elsewhere, sqlite.Backup(ctx, c.File.Path, to)
}

// Restore replaces the configuration's SQLite file with a backup; no daemon may have it open. kept is the new name of
// the old file, or "" if there was none.
func Restore(ctx context.Context, c *config.Config, from string) (kept string, err error) {
	if _, err := usesFile(c); err != nil {
		return "", err
	}
	r, err := sqlite.Restore(ctx, from, c.File.Path)
	return r.ReplacedPath, err
}

func usesFile(c *config.Config) (postgresToo bool, err error) {
	all := c.Backends()
	if !slices.Contains(all, park.File) {
		return false, errNoFile
	}
	return slices.ContainsFunc(all, func(b park.Backend) bool { return b.Kind() == park.Postgres }), nil
}
