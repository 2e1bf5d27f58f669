//go:build race

package cmd_test

// raceEnabled says that the scripts run a program with the race detector too.
const raceEnabled = true
