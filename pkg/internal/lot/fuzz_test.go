package lot_test

import (
	"testing"

	"pgregory.net/rapid"
)

// FuzzOps plays the duel between the lot and its oracle by bytes, so that a fuzzer finds the way to code that chance does
// not reach.
func FuzzOps(f *testing.F) {
	f.Add([]byte("parked tasks start in the order in which they came, unless a higher class waits"))
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { newStateMachine(t, rapid.Bool().Draw(t, "leased")).run() }))
}
