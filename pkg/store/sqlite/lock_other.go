//go:build !linux

package sqlite

import "os"

// lockByte does nothing: this system has no locks that would not affect SQLite's own.
func lockByte(*os.File) error { return nil }
