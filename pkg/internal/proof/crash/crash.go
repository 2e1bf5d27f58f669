// Package crash holds the campaigns that harm real daemons: SIGKILL, SIGTERM, SIGSTOP, power cuts, and faults of the
// database and of its connections. All of it is in the tests.
//
// The checks use three sources that are independent of parkd. The ledger is a file of the test, synced after each line,
// of what daemons have acknowledged and refused. The test tasks run pkg/internal/proof/lockholder, which learns from
// the kernel whether there was capacity for them. And pkg/internal/replay, which shares no code with the scheduler,
// replays the audit log.
package crash
