package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestManPages: every command has a page with all flags, its exit codes and the related pages.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	if err := WriteMan(dir, "v1.2.3"); err != nil {
		t.Fatal(err)
	}
	pages := 0
	g, _, _ := testGlobals()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		b, err := os.ReadFile(filepath.Join(dir, manName(c)+".1"))
		if err != nil {
			t.Error(err)
		}
		pages++
		page := string(b)
		parts := []string{`"parkd v1.2.3"`, ".SH \"NAME\"", escapeMan(c.Short), ".SH \"EXIT STATUS\""}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if strings.Contains(page, escapeMan("--"+f.Name)) == f.Hidden {
				t.Errorf("%s: --%s is hidden: %t, and its page says otherwise", c.CommandPath(), f.Name, f.Hidden)
			}
		})
		for _, sub := range manCommands(c) {
			parts = append(parts, escapeMan(manName(sub)+"(1)"))
			walk(sub)
		}
		for _, part := range parts {
			if !strings.Contains(page, part) {
				t.Errorf("%s: %q is missing", c.CommandPath(), part)
			}
		}
		if i := strings.IndexFunc(page, func(r rune) bool { return r > 126 }); i >= 0 {
			t.Errorf("%s: not ASCII: %.20q", c.CommandPath(), page[i:])
		}
	}
	walk(newRootCommand(g, nil))
	if files, err := os.ReadDir(dir); err != nil || len(files) != pages {
		t.Errorf("%d pages of %d commands, %v", len(files), pages, err)
	}
}

func TestManEscapes(t *testing.T) {
	const text = ".hidden 'quoted' \"twice\"\n.second C:\\new --flag ~/x …"
	const want = `\&.hidden \(aqquoted\(aq \(dqtwice\(dq` + "\n" + `\&.second C:\enew \-\-flag \(ti/x ...`
	if got := escapeMan(text); got != want {
		t.Errorf("%q, not %q", got, want)
	}
}
