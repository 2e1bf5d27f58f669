package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
)

// A daemon leaves a note in the user's state folder that says where its socket is. By it the command line finds a daemon
// whose socket is not at the place where it would look first: because of its configuration, or because one of the two
// was started without XDG_RUNTIME_DIR. The note outlives the daemon: one that has stopped is still the user's own, and
// who answers elsewhere is not.

const noteName = "daemon.json"

// maxNote bounds how much of a note is read.
const maxNote = 64 << 10

// note is what a daemon leaves.
type note struct {
	Socket string `json:"socket"`
	// Store tells daemons of one user apart: they may be as many as there are databases.
	Store string `json:"store"`
}

// FindSocket returns the path of the socket where the user's own daemon is, or would be; "" where there is no folder for
// one. env returns an environment variable.
func FindSocket(env func(string) string) string {
	first := config.DefaultSocket(env)
	if _, err := os.Lstat(first); err == nil {
		return first
	}
	if n, err := readNote(config.StateDir(env)); err == nil && filepath.IsAbs(n.Socket) {
		return n.Socket
	}
	return first
}

func readNote(dir string) (n note, err error) {
	if dir == "" {
		return n, os.ErrNotExist
	}
	f, err := os.Open(filepath.Join(dir, noteName))
	if err != nil {
		return n, err
	}
	defer f.Close()
	return n, json.NewDecoder(io.LimitReader(f, maxNote)).Decode(&n)
}

// leaveNote notes where the daemon's socket is. A note of a daemon with another database is left alone, for a second
// daemon must not take the place of the first, which may be away for a moment only; but the daemon at the place where
// everybody looks first is always the user's own.
func leaveNote(c *config.Config, l *listeners) error {
	if c.StateDir == "" || l.unix == nil {
		return nil
	}
	socket, err := filepath.Abs(l.socket)
	if err != nil {
		return fmt.Errorf("find the current directory: %w", err)
	}
	own := note{Socket: socket, Store: storeOf(c)}
	if old, err := readNote(c.StateDir); err == nil && old.Store != own.Store && !c.DefaultSocket {
		return nil
	}
	b, err := json.Marshal(own)
	if err != nil {
		return fmt.Errorf("note where the socket is: %w", err)
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return fmt.Errorf("note where the socket is: %w", err)
	}
	return replaceFile(filepath.Join(c.StateDir, noteName), append(b, '\n'))
}

// replaceFile puts a file in the place of another at once, so that nobody reads half of it.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".note")
	if err != nil {
		return fmt.Errorf("note where the socket is: %w", err)
	}
	_, err = f.Write(b)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("note where the socket is: %w", err)
	}
	return nil
}

// storeOf names the databases of a configuration without giving away what is in their addresses.
func storeOf(c *config.Config) string {
	var names []string
	for _, b := range c.Backends() {
		switch b.Kind() {
		case park.File:
			path, err := filepath.Abs(c.File.Path)
			if err != nil {
				path = c.File.Path
			}
			return "file:" + path
		case park.Postgres:
			sum := sha256.Sum256([]byte(c.DSN(b)))
			names = append(names, "postgres:"+hex.EncodeToString(sum[:8]))
		case park.InMemory:
			names = append(names, string(b))
		}
	}
	return strings.Join(names, ",")
}
