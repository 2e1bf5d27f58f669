// Package shim runs the shim, the supervisor of one command, before the other packages of the program are initialised.
//
// A shim is started for every task that runs a command, and needs only a third of the program's packages. Initialising
// the others (databases, metrics, the command line) would cost several times as much processor time as its own work. Go
// initialises packages in a specified order: always the first by path of those whose imports are initialised. This
// package has few imports, so it comes before the large ones. So it must not import more, and it acts in an init
// function.
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
