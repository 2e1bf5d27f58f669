package cmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func testGlobals() (*globals, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return &globals{
		in: strings.NewReader(""), out: &out, err: &err, getenv: func(string) string { return "" },
		now: time.Now, output: asTable, fromEnvironment: map[string]bool{},
	}, &out, &err
}

// TestHelp: the help of every command has a description, examples and exit codes.
func TestHelp(t *testing.T) {
	g, _, _ := testGlobals()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		name := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || c.Long == "" || !strings.HasSuffix(c.Long, ".") {
			t.Errorf("%s: short %q, long %q", name, c.Short, c.Long)
		}
		if !strings.Contains(c.Example, name) {
			t.Errorf("%s has no example of itself", name)
		}
		if !strings.Contains(c.Annotations[exitCodes], "0  done") {
			t.Errorf("%s does not say how it exits", name)
		}
		for line := range strings.Lines(c.Long) {
			if len([]rune(line)) > 115 && strings.Contains(c.Long, "\n") {
				t.Errorf("%s: a line is too long: %s", name, line)
			}
		}
		if c.RunE == nil {
			t.Errorf("%s does nothing", name)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand(g, nil))
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	g, out, errs := testGlobals()
	if code := g.execute(t.Context(), []string{"mailbox", "poll", "--help"}); code != 0 || errs.Len() > 0 {
		t.Errorf("exit %d, %s", code, errs)
	}
	for _, part := range []string{"Usage:\n  parkd mailbox poll", "Examples:", "--since", "Exit codes:", "124"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is missing from\n%s", part, out)
		}
	}
}

// TestCompletionsAreFresh: the committed scripts are those of this program.
func TestCompletionsAreFresh(t *testing.T) {
	for _, shell := range shells() {
		g, out, _ := testGlobals()
		if code := g.execute(t.Context(), []string{"completion", shell}); code != 0 {
			t.Fatalf("exit %d", code)
		}
		committed, err := os.ReadFile(filepath.Join("..", "completions", "parkd."+shell))
		if err != nil || !bytes.Equal(committed, out.Bytes()) {
			t.Errorf("completions/parkd.%s is stale (%v): sh .ci/generate", shell, err)
		}
	}
}
