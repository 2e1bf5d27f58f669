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
	Demand  int
}

func (s *Step) reuse() {
	s.Row = ledger.Pool{}
	reuse(&s.Inserts)
	reuse(&s.Specs)
	reuse(&s.Updates)
	reuse(&s.Started)
	reuse(&s.Messages)
	reuse(&s.Events)
}
