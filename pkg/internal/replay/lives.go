package replay

import "github.com/parkd-dev/parkd/pkg/park"

// Life is a task as its log tells of it. Times are microseconds, 0 for none.
type Life struct {
	TaskID, Tenant string
	Units          int64
	Attempt        int
	Status         park.Status
	Node           string // that started the run under way or, of an ended task, the last one; "" while it is parked
	Reason         string // of its end
	Submitted      int64
	Started        int64 // of the same run as Node
	Ended          int64
	Since          int64 // the rev of its submission
	Rev            int64 // of its last event
	Adopted        bool  // the log does not have its beginning: Submitted and what Told is about are not known
	Blind          bool  // nor the start of its run
	Told           bool  // the log tells what follows; it does so since parkd keeps it for who reads it
	Priority       park.Priority
	Deadline       int64
	Mailbox        string
	MaxAttempts    int
	NotBefore      int64 // the end of its last rest; -1 where that is not known
	Asked          bool  // to stop, in its last run
	Strikes        int   // runs that went wrong; -1 where that is not known
}

// OnEnd has f called for each task that ends. What it gets is f's until it returns. Call it before the first event.
func (p *Pool) OnEnd(f func(*Life)) { p.onEnd = f }

// Live calls yield for each task that has not ended.
func (p *Pool) Live(yield func(*Life) bool) {
	for _, t := range p.tasks {
		if !yield(&t.Life) {
			return
		}
	}
}

// Lookup returns a task that has not ended, nil where there is none with the id.
func (p *Pool) Lookup(id string) *Life {
	if t := p.tasks[id]; t != nil {
		return &t.Life
	}
	return nil
}

// Line calls yield for the parked tasks in the order in which they are to start, as far as the log tells it: those that rest
// before they run again, or have rested, are left out.
func (p *Pool) Line(yield func(*Life) bool) {
	for i := len(p.order.classes) - 1; i >= 0; i-- {
		able, large := p.order.classes[i].fitting.first, p.order.classes[i].large.first
		for able != nil || large != nil {
			next := &able
			if able == nil || large != nil && large.order < able.order {
				next = &large
			}
			if !yield(&(*next).Life) {
				return
			}
			*next = (*next).next
		}
	}
}
