package daemon

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSystemdIsTold(t *testing.T) {
	dir, err := os.MkdirTemp("", "sd") //nolint:usetesting // short: it is the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, socket := range []string{filepath.Join(dir, "n"), "@" + filepath.Base(dir)} {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NOTIFY_SOCKET", socket)
		notifySystemd(slog.New(slog.DiscardHandler), "READY=1")
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil || string(b[:n]) != "READY=1" {
			t.Errorf("%s: %q, %v", socket, b[:n], err)
		}
		_ = c.Close()
	}
}

// TestUnitOfTheDocs verifies the unit in the documentation with systemd.
func TestUnitOfTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, unit, _ := strings.Cut(string(text), "```ini\n")
	unit, _, ok := strings.Cut(unit, "```")
	if !ok || !strings.Contains(unit, "Type=notify") || !strings.Contains(unit, "OOMPolicy=continue") {
		t.Fatalf("the unit is %q", unit)
	}
	verifyUnit(t, strings.Replace(unit, "%h/go/bin/parkd", "/usr/bin/parkd", 1))
}

// TestUnitOfThePackages: the unit in packages is the same as the one in the documentation.
func TestUnitOfThePackages(t *testing.T) {
	packaged, err := os.ReadFile("../../configs/parkd.service")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(string(text), "```ini\n# ~/.config/systemd/user/parkd.service\n")
	want, _, _ = strings.Cut(want, "```")
	_, got, _ := strings.Cut(string(packaged), "\n")
	got = strings.Replace(got, "Documentation=man:parkd-serve(1) https://github.com/parkd-dev/parkd\n", "", 1)
	if got = strings.Replace(got, "/usr/bin/parkd", "%h/go/bin/parkd", 1); got != want {
		t.Errorf("configs/parkd.service is\n%s\nand docs/operations.md says\n%s", got, want)
	}
	verifyUnit(t, string(packaged))
}

// verifyUnit verifies a unit of /usr/bin/parkd with systemd.
func verifyUnit(t *testing.T, unit string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here: the unit was not verified")
	}
	self, err := os.Executable() // a program that exists
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "parkd.service")
	if err := os.WriteFile(file, []byte(strings.Replace(unit, "/usr/bin/parkd", self, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := exec.Command(analyze, "verify", "--user", "--man=no", file)
	verify.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir(), "HOME="+t.TempDir())
	if out, err := verify.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
