package cmd

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/executor/command"
)

// TestMadeAlone: a command that is made without the others has the same help.
func TestMadeAlone(t *testing.T) {
	for _, c := range constructors() {
		g, alone, _ := testGlobals()
		if code := g.execute(t.Context(), []string{c.name, "--help"}); code != exitDone {
			t.Errorf("%s --help: exit %d", c.name, code)
		}
		g, among, _ := testGlobals()
		if code := g.execute(t.Context(), []string{"--output=table", c.name, "--help"}); code != exitDone {
			t.Errorf("--output=table %s --help: exit %d", c.name, code)
		}
		if alone.String() != among.String() {
			t.Errorf("%s, made alone, says of itself:\n%s\nand among the others:\n%s", c.name, alone, among)
		}
		g, _, _ = testGlobals()
		all := len(newRootCommand(g, nil).Commands())
		if made := len(newRootCommand(g, []string{c.name}).Commands()); made != all && made != all-len(constructors())+1 {
			t.Errorf("%s: %d commands are made", c.name, made)
		}
	}
}

// initialised returns how many bytes each package allocates when this program starts with an argument.
func initialised(t *testing.T, arg string) map[string]int {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), self, arg)
	program.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, _ := program.CombinedOutput() // a shim without a job fails
	packages := make(map[string]int)
	for _, m := range regexp.MustCompile(`(?m)^init (\S+) @.* (\d+) bytes, \d+ allocs$`).FindAllStringSubmatch(string(out), -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		packages[m[1]] = n
	}
	if _, ok := packages["os"]; !ok {
		t.Fatalf("no trace of what is initialised:\n%s", out)
	}
	return packages
}

// TestShimStartsFirst: a shim does not initialise the packages of the client and the daemon.
func TestShimStartsFirst(t *testing.T) {
	packages := initialised(t, command.ShimArg)
	for _, dear := range []string{
		"modernc.org/libc", "modernc.org/sqlite", "modernc.org/sqlite/lib", "github.com/jackc/pgx/v5", "github.com/jackc/pgx/v5/pgtype",
		"github.com/VictoriaMetrics/metrics", "github.com/olekukonko/tablewriter",
		"github.com/spf13/cobra", "github.com/spf13/viper", "net/http", "regexp",
	} {
		if _, ok := packages[dear]; ok {
			t.Errorf("%s is initialised before the shim begins", dear)
		}
	}
}

// TestStartsLean: parkd's packages allocate little before it is known which command runs.
func TestStartsLean(t *testing.T) {
	for name, bytes := range initialised(t, "-test.run=^$") {
		if strings.HasPrefix(name, "github.com/parkd-dev/parkd/") && bytes > 8<<10 {
			t.Errorf("%s allocates %d bytes when a program starts that imports it", name, bytes)
		}
	}
}

// BenchmarkCommand measures what a command line costs before its command runs, in a warm process.
func BenchmarkCommand(b *testing.B) {
	for _, args := range [][]string{nil, {"status"}} {
		b.Run(strings.Join(append([]string{"parkd"}, args...), " "), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g, _, _ := testGlobals()
				newRootCommand(g, args)
			}
		})
	}
}
