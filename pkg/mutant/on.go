//go:build mutants

package mutant

import (
	"maps"
	"slices"
)

// The bugs; see off.go.
var (
	NoFence          bool
	ReleaseTwice     bool
	Int32Units       bool
	LateExpiry       bool
	Barging          bool
	RequeueLast      bool
	DepthBefore      bool
	CancelKeepsUnits bool
	NodeLossCounts   bool
	PausedStarts     bool
	ConfiguredLimit  bool
	AnyDigest        bool
	RefuseAgain      bool
	BackoffByWall    bool
	MergeInTurn      bool
	AnswerEarly      bool
	GuessSuccess     bool
	GuessFailure     bool
	OnlyHints        bool
	TakeoverByWall   bool
	Impatient        bool
	NoSelfFence      bool
	SameName         bool
	BuryBlindly      bool
	NoRevCheck       bool
	MessageApart     bool
	AuditApart       bool
	LeaseByWall      bool
	CancelReturns    bool
	NoSettle         bool
	NoShim           bool
	DeafAfterLoad    bool
	ForgetOutcome    bool
)

var byName = map[string]*bool{
	"no_fence":           &NoFence,
	"release_twice":      &ReleaseTwice,
	"int32_units":        &Int32Units,
	"late_expiry":        &LateExpiry,
	"barging":            &Barging,
	"requeue_last":       &RequeueLast,
	"depth_before":       &DepthBefore,
	"cancel_keeps_units": &CancelKeepsUnits,
	"node_loss_counts":   &NodeLossCounts,
	"paused_starts":      &PausedStarts,
	"configured_limit":   &ConfiguredLimit,
	"any_digest":         &AnyDigest,
	"refuse_again":       &RefuseAgain,
	"backoff_by_wall":    &BackoffByWall,
	"merge_in_turn":      &MergeInTurn,
	"answer_early":       &AnswerEarly,
	"guess_success":      &GuessSuccess,
	"guess_failure":      &GuessFailure,
	"only_hints":         &OnlyHints,
	"takeover_by_wall":   &TakeoverByWall,
	"impatient":          &Impatient,
	"no_self_fence":      &NoSelfFence,
	"same_name":          &SameName,
	"bury_blindly":       &BuryBlindly,
	"no_rev_check":       &NoRevCheck,
	"message_apart":      &MessageApart,
	"audit_apart":        &AuditApart,
	"lease_by_wall":      &LeaseByWall,
	"cancel_returns":     &CancelReturns,
	"no_settle":          &NoSettle,
	"no_shim":            &NoShim,
	"deaf_after_load":    &DeafAfterLoad,
	"forget_outcome":     &ForgetOutcome,
}

// Names returns the names of all bugs, in order.
func Names() []string { return slices.Sorted(maps.Keys(byName)) }

// Plant plants the bug with the name, alone; "" none. Nothing may run meanwhile that could have it.
func Plant(name string) bool {
	for _, on := range byName {
		*on = false
	}
	on := byName[name]
	if on != nil {
		*on = true
	}
	return on != nil || name == ""
}
