// Command man writes parkd's manual pages, one for each command:
//
//	go run ./docs/man [-version v1.2.3] FOLDER
//
// A release does so for its packages. It is a program of its own so that parkd need not carry it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/parkd-dev/parkd/cmd"
)

func main() {
	version := flag.String("version", "", "version that the pages name")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: go run ./docs/man [-version v1.2.3] FOLDER")
		os.Exit(2)
	}
	if err := cmd.WriteMan(flag.Arg(0), *version); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
