package loadtest

import (
	"fmt"
	"sync"
)

// findings counts violations by kind, and describes the first of each kind.
type findings struct {
	mu      sync.Mutex
	count   [kinds]int
	details [kinds][]string
}

// finding is a kind of violation.
type finding uint8

const (
	wrongAnswer finding = iota
	wrongEnd
	wrongEvent
	shortRun
	longRun
	strayRequeue
	wrongMessage
	wrongRow
	streamDiffers
	lostLog
	kinds
)

// promise returns the guarantee that a kind breaks; "" if it is judged elsewhere.
func (k finding) promise() string {
	switch k {
	case wrongAnswer:
		return "answers that contradict the pool or the log"
	case wrongEnd:
		return "tasks that did not end as requested"
	case wrongEvent:
		return "events with units, tenants or reasons other than requested"
	case shortRun:
		return "runs that ended before their work was done"
	case longRun:
		return "runs that continued after their work, timeout or cancellation"
	case strayRequeue:
		return "runs lost although no daemon was"
	case wrongRow:
		return "tasks read back that differ from the log"
	case streamDiffers:
		return "events that differ between the stream and the log"
	case lostLog:
		return "missing parts of the audit log"
	case wrongMessage, kinds:
	}
	return ""
}

// maxDetails is how many findings of a kind are described.
const maxDetails = 3

// note adds a finding.
func (f *findings) note(k finding, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[k]++
	if len(f.details[k]) < maxDetails {
		f.details[k] = append(f.details[k], fmt.Sprintf(format, args...))
	}
}

// all returns all descriptions.
func (f *findings) all() (all []string) {
	for _, w := range f.details {
		all = append(all, w...)
	}
	return all
}
