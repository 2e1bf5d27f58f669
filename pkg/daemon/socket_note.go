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

// A daemon writes a note with the path of its socket into the user's state folder. The command line uses it if the
// socket is not at its default path: because of the configuration, or because one of the two was started without
// XDG_RUNTIME_DIR. The note stays when the daemon stops: its path still belongs to the user, while a daemon elsewhere
// may be another user's.

const noteName = "daemon.json"

// maxNote bounds the size of a note.
const maxNote = 64 << 10

// note is the content of the file.
type note struct {
	Socket string `json:"socket"`
	// Store identifies the daemon's database, because one user may run several daemons.
	Store string `json:"store"`
}

// FindSocket returns the path of the socket of the user's own daemon, running or not; "" if there is no folder for it.
// env returns an environment variable.
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

// writeNote writes the path of the daemon's socket. It keeps the note of a daemon with another database, because a
// second daemon must not replace the first, which may be stopped for a moment only. A daemon at the default path always
// writes its note.
func writeNote(c *config.Config, l *listeners) error {
	if c.StateDir == "" || l.unix == nil {
		return nil
	}
	socket, err := filepath.Abs(l.socket)
	if err != nil {
		return fmt.Errorf("find the current directory: %w", err)
	}
	own := note{Socket: socket, Store: storeID(c)}
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

// replaceFile replaces a file atomically.
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

// storeID identifies the databases of a configuration without revealing their addresses.
func storeID(c *config.Config) string {
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
