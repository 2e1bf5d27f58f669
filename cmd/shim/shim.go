// Package shim makes the program the supervisor of one command while its packages are still being initialised.
//
// A shim is started for every task that runs a command, and what it does needs a third of the program's packages. The
// others would cost it several times as much processor as its own work: databases, metrics and the command line fill
// their tables when a program starts. Go initialises packages in an order that its specification fixes: always the first
// by path of those whose imports are ready. This package imports little, so its turn comes before theirs. That is why
// it must not import more, and why it acts in an init function.
package shim

import (
	"os"

	"github.com/parkd-dev/parkd/pkg/executor/command"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == command.ShimArg {
		os.Exit(command.ShimMain(os.Args[2:]))
	}
}
