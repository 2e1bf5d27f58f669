package lot

import (
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Step is the result of one Apply, in the form in which a store takes it. A step without events changed nothing that must
// be stored. The next Apply reuses the slices, so a caller that keeps them must copy them. What they point to stays.
type Step struct {
	Row      ledger.Pool
	Inserts  []ledger.Record // the tasks that the step created, as they are after the step
	Specs    []*ledger.Spec  // the specs of these tasks, as they were submitted
	Updates  []ledger.Update // the other tasks that the step touched, as they are after the step
	Started  []Started
	Messages []park.Message
	Events   []park.Event
}

// Started is a run that the step began. Request is the index of the lease request that got it. Spec is set if the step
// created the task.
type Started struct {
	TaskID  string
	Spec    *ledger.Spec
	Attempt int
	Request int
}

func (s *Step) reset() {
	s.Row = ledger.Pool{}
	reset(&s.Inserts)
	reset(&s.Specs)
	reset(&s.Updates)
	reset(&s.Started)
	reset(&s.Messages)
	reset(&s.Events)
}
