package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build describes this program.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from uncommitted files
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Prints the version of parkd, and what it was built from.",
		Example: "  parkd version\n  parkd version -o json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			g.started = true
			return runVersion(g)
		},
	}
	setExitCodes(c, exitDone, exitUsage)
	return c
}

func runVersion(g *globals) error {
	b := g.build()
	switch g.output {
	case asJSON, asNDJSON:
		return g.printer().json(b)
	case asWide:
		_, err := fmt.Fprintf(g.out, "parkd %s (%s, built with %s for %s)\n", b.Version, orUnknownRevision(b), b.Go, b.Platform)
		return err
	case asID:
		_, err := fmt.Fprintln(g.out, b.Version)
		return err
	case asTable:
	}
	_, err := fmt.Fprintln(g.out, "parkd", b.Version)
	return err
}

func orUnknownRevision(b build) string {
	switch {
	case b.Revision == "":
		return "revision unknown"
	case b.Modified:
		return "revision " + b.Revision + ", modified"
	}
	return "revision " + b.Revision
}

// build returns the version information of the linker and the Go command. A release sets the version itself.
func (g *globals) build() build {
	b := build{Version: g.version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b.named()
	}
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b.named()
}

func (b build) named() build {
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}
