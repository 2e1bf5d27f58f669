//go:build !mutants

package sim

const mutated = false
