// Command judge runs simulated histories, seed after seed, until one breaks a guarantee; it then prints it and exits
// with 1. It is built with a planted bug.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/parkd-dev/parkd/pkg/internal/sim"
)

func main() {
	seeds := flag.Uint64("seeds", 500, "how many histories")
	explain := flag.Bool("explain", false, "tell what happened in the one that breaks a promise")
	flag.Parse()
	for seed := uint64(1); seed <= *seeds; seed++ {
		r := sim.Run(sim.Options{Seed: seed})
		if r.Err == nil {
			continue
		}
		fmt.Printf("seed %d: %v\n", seed, r.Err)
		if *explain {
			fmt.Println(sim.Explain(sim.Options{Seed: seed}))
		}
		os.Exit(1)
	}
}
