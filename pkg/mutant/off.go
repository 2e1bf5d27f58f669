//go:build !mutants

// Package mutant names the bugs that the tests plant to see whether they would be found. In an ordinary build each is a
// constant that is false, and the compiler leaves nothing of it. With the build tag mutants they are variables, and
// [Plant] sets one.
package mutant

// The bugs. Those that parkd once had are among them.
const (
	NoFence          = false // a result of an older run, or of another lease, ends the present one
	ReleaseTwice     = false // an ended run gives its units back twice
	Int32Units       = false // units are compared in 32 bits
	LateExpiry       = false // what expires is not looked for before a start
	Barging          = false // a new arrival that fits starts ahead of those that wait
	RequeueLast      = false // what was lost goes to the end of its class
	DepthBefore      = false // the queue's depth is checked as it was before the step
	CancelKeepsUnits = false // a running task that was cancelled keeps its units
	NodeLossCounts   = false // the loss of a node counts as a failure of the task
	PausedStarts     = false // a paused pool starts tasks
	ConfiguredLimit  = false // starts go by the configured capacity, not by the present one
	AnyDigest        = false // another submission with the same id is taken for the same
	RefuseAgain      = false // a submission that comes again is refused
	BackoffByWall    = false // a backoff of another node ends by the wall clock
	MergeInTurn      = false // a merge puts a task in before all others are out
	AnswerEarly      = false // callers are answered before the commit
	GuessSuccess     = false // a commit without a reply is taken for done
	GuessFailure     = false // a commit without a reply is taken for not done
	OnlyHints        = false // nodes hear of each other by hints alone
	TakeoverByWall   = false // a node is taken for dead by the wall clock
	Impatient        = false // a node is taken for dead before its fence has fallen
	NoSelfFence      = false // a node that cannot beat goes on
	SameName         = false // a node has the same name in each life
	BuryBlindly      = false // a node is buried for its age, without a look at its counter
	NoRevCheck       = false // a step is taken whatever rev it was decided on
	MessageApart     = false // messages are stored after the step
	AuditApart       = false // events are stored after the step
	LeaseByWall      = false // leases run out by the wall clock
	CancelReturns    = false // a cancellation does not wait for the end of the run
	NoSettle         = false // a daemon starts tasks while commands of the one before are alive
	NoShim           = false // commands outlive their daemon
	DeafAfterLoad    = false // a node that loads a pool anew instead of following hears of nothing any more
	ForgetOutcome    = false // an outcome that could not be stored is dropped
)
