package config

import (
	"path/filepath"
)

// Where a user's files are, after the XDG base directory specification: state outlives a restart of the
// machine, the runtime folder does not.

// StateDir returns the folder of the user's state, or "" if there is none. env returns an environment variable.
func StateDir(env func(string) string) string {
	if dir := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "parkd")
	}
	return inHome(env, ".local", "state", "parkd")
}

func configDir(env func(string) string) string {
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "parkd")
	}
	return inHome(env, ".config", "parkd")
}

func inHome(env func(string) string, below ...string) string {
	home := env("HOME")
	if !filepath.IsAbs(home) {
		return ""
	}
	return filepath.Join(append([]string{home}, below...)...)
}

// DefaultSocket returns the path of the socket of a daemon that was not told otherwise; "" where there is no
// folder for it. env returns an environment variable.
func DefaultSocket(env func(string) string) string {
	if dir := env("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "parkd", "parkd.sock")
	}
	if dir := StateDir(env); dir != "" {
		return filepath.Join(dir, "parkd.sock")
	}
	return ""
}

// defaultDB returns the default file of the SQLite backend.
func defaultDB(env func(string) string) string {
	if dir := StateDir(env); dir != "" {
		return filepath.Join(dir, "parkd.db")
	}
	return ""
}
