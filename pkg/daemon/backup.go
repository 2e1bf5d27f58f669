package daemon

import (
	"context"
	"errors"
	"slices"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// errNoFile says that there is no file to back up or to restore.
var errNoFile = errors.New("the configuration does not use a SQLite file; use pg_dump and pg_restore for a Postgres database")

// Backup writes what the configuration's SQLite file holds to a new file, while a daemon may be running. It reports
// whether something else is kept in Postgres, which is not in the backup.
func Backup(ctx context.Context, c *config.Config, to string) (elsewhere bool, err error) {
	if elsewhere, err = usesFile(c); err != nil {
		return false, err
	}
	return elsewhere, sqlite.Backup(ctx, c.File.Path, to)
}

// Restore puts a backup in the place of the configuration's SQLite file, while no daemon has that open. What was there is
// kept under the name that is returned; "" where there was nothing.
func Restore(ctx context.Context, c *config.Config, from string) (kept string, err error) {
	if _, err := usesFile(c); err != nil {
		return "", err
	}
	r, err := sqlite.Restore(ctx, from, c.File.Path)
	return r.Kept, err
}

func usesFile(c *config.Config) (postgresToo bool, err error) {
	all := c.Backends()
	if !slices.Contains(all, park.File) {
		return false, errNoFile
	}
	return slices.ContainsFunc(all, func(b park.Backend) bool { return b.Kind() == park.Postgres }), nil
}
