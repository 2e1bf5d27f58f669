package lot_test

import (
	"testing"

	"pgregory.net/rapid"
)

// FuzzOps compares the lot with its oracle on operations derived from bytes, so that a fuzzer finds code that random
// operations do not reach.
func FuzzOps(f *testing.F) {
	f.Add([]byte("parked tasks start in the order in which they came, unless a higher class waits"))
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { newStateMachine(t, rapid.Bool().Draw(t, "leased")).run() }))
}
