package engine

import (
	"sync"
)

// runSet is the set of runs whose executors have not returned, for all goroutines. The zero value is ready to use.
type runSet struct {
	mu          sync.Mutex
	runs        map[*run]struct{}
	cause       error         // why all runs are to stop; nil while they may go on
	allReturned chan struct{} // set by stop; closed when the set is empty
}

// add returns why the run has to stop at once, or nil.
func (w *runSet) add(r *run) (cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.runs == nil {
		w.runs = make(map[*run]struct{})
	}
	w.runs[r] = struct{}{}
	return w.cause
}

func (w *runSet) remove(r *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, r)
	w.closeIfEmpty()
}

// stop stops all runs with a cause. The channel is closed once all their executors have returned.
func (w *runSet) stop(cause error) (allReturned <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cause, w.allReturned = cause, make(chan struct{})
	for r := range w.runs {
		r.cancel(cause)
	}
	w.closeIfEmpty()
	return w.allReturned
}

// stopCause returns why runs are to stop, or nil while they may go on.
func (w *runSet) stopCause() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}

func (w *runSet) closeIfEmpty() {
	if w.allReturned == nil || len(w.runs) > 0 {
		return
	}
	select {
	case <-w.allReturned:
	default:
		close(w.allReturned)
	}
}
