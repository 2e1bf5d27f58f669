//go:build race

package cmd_test

// raceEnabled makes the scripts run a program with the race detector.
const raceEnabled = true
