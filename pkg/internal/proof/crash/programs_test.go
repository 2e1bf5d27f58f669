//go:build linux

package crash_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

// programs are built at their first use.
type programs struct {
	once sync.Once
	dir  string
	own  bool // the folder is removed with these tests
	err  error
}

var built programs

// program returns the path of a program: parkd or lockholder.
func program(t testing.TB, name string) string {
	t.Helper()
	built.once.Do(func() { built.err = built.make() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, name)
}

// make builds the programs in a folder of these tests, or uses those that other campaigns have built.
func (p *programs) make() (err error) {
	if p.dir = os.Getenv(proof.EnvBuilds); p.dir == "" {
		if p.dir, err = os.MkdirTemp("", "parkd-proof-"); err != nil {
			return err
		}
		p.own = true
	}
	lock, err := os.Create(filepath.Join(p.dir, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	for unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil { // the holder builds; its death releases the lock
		if ctx.Err() != nil {
			return fmt.Errorf("others build for %s", buildTimeout)
		}
		sleep(ctx, 50*time.Millisecond)
	}
	for name, pkg := range map[string]string{"parkd": "../../../..", "lockholder": "../lockholder"} {
		if err := build(ctx, filepath.Join(p.dir, name), pkg); err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
	}
	// The command of a task may run as another user.
	return os.Chmod(p.dir, 0o755)
}

// buildTimeout bounds a build, which may take minutes on a busy machine with an empty cache.
const buildTimeout = 20 * time.Minute

// build builds a program if it does not exist.
func build(ctx context.Context, path, pkg string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	c := exec.CommandContext(ctx, "go", "build", "-o", path+".new", pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return os.Rename(path+".new", path)
}

func (p *programs) remove() {
	if p.own {
		_ = os.RemoveAll(p.dir)
	}
}
