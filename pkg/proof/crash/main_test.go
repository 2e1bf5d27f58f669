//go:build linux

package crash_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

var cluster pgtest.Cluster

// programs are built when the first test asks for them.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := cluster.Run(m)
	if programs.dir != "" {
		_ = os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}

// program returns the path of a program: parkd or witness.
func program(t testing.TB, name string) string {
	t.Helper()
	programs.once.Do(func() { programs.dir, programs.err = buildPrograms() })
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, name)
}

func buildPrograms() (string, error) {
	dir, err := os.MkdirTemp("", "parkd-proof-")
	if err != nil {
		return "", err
	}
	for name, pkg := range map[string]string{"parkd": "../../..", "witness": "../witness"} {
		c := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	// A task's command may run as another user than the one that built it.
	return dir, os.Chmod(dir, 0o755)
}
