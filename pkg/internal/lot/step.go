package lot

import (
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Step is what one Apply did, in the form in which a store takes it. A step without events changed nothing that has to be
// kept. Its slices are used again by the next Apply, so who keeps them copies them; what they point to stays.
type Step struct {
	Row      ledger.Pool
	Inserts  []ledger.Record // the tasks that the step created, as they are after it
	Specs    []*ledger.Spec  // theirs, as they were submitted
	Updates  []ledger.Update // the other tasks that it touched, as they are after it
	Started  []Started
	Messages []park.Message
	Events   []park.Event
}

// Started is a run that the step began. Demand is the index of the demand that it was leased for. Spec is set for a task
// that the step created.
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
