// Parkd runs what fits, parks the rest, and keeps every outcome. See package cmd for the command line.
package main

import (
	"os"

	"github.com/parkd-dev/parkd/cmd"
)

// version is set by the linker for a release: -ldflags "-X main.version=v1.2.3".
var version string

func main() { os.Exit(cmd.Main(version)) }
