// Package crash holds the campaigns that harm real daemons: SIGKILL, SIGTERM, SIGSTOP, power cuts, and everything that a
// database and the way to it can suffer. All of it is in the tests.
//
// What is true is told by three witnesses that parkd has no part in. The ledger is a file of the test's own, fsynced
// after each line, of what a daemon has acknowledged and what it has refused. The test tasks run pkg/internal/proof/witness,
// which knows from the kernel whether there was room for them. And the audit log is replayed by pkg/internal/replay, which
// shares no code with the scheduler.
package crash
