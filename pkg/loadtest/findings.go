package loadtest

import (
	"fmt"
	"sync"
)

// findings are what is found to be wrong, and the first of each kind in words.
type findings struct {
	mu    sync.Mutex
	count [kinds]int
	words [kinds][]string
}

// finding is a kind of what may be wrong.
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
	unlikeStream
	lostLog
	kinds
)

// promise names what a finding of the kind breaks; "" where that is judged elsewhere.
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
	case unlikeStream:
		return "events that differ between the stream and the log"
	case lostLog:
		return "missing parts of the audit log"
	case wrongMessage, kinds:
	}
	return ""
}

// aKind is how many findings of a kind are told in words.
const aKind = 3

// note adds a finding.
func (f *findings) note(k finding, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[k]++
	if len(f.words[k]) < aKind {
		f.words[k] = append(f.words[k], fmt.Sprintf(format, args...))
	}
}

// told returns the words of all.
func (f *findings) told() (all []string) {
	for _, w := range f.words {
		all = append(all, w...)
	}
	return all
}
