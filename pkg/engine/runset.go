package engine

import (
	"sync"
)

// work is the set of runs whose executors have not returned, for all goroutines. The zero value is ready to use.
type work struct {
	mu   sync.Mutex
	runs map[*run]struct{}
	why  error         // they are to stop; nil while they may run
	none chan struct{} // closed when there is none left after that
}

// add returns why the run is to stop at once, if it is.
func (w *work) add(r *run) (why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.runs == nil {
		w.runs = make(map[*run]struct{})
	}
	w.runs[r] = struct{}{}
	return w.why
}

func (w *work) remove(r *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, r)
	w.note()
}

// close tells all runs to stop, and why. The channel is closed once all their executors have returned.
func (w *work) close(why error) (none <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.why, w.none = why, make(chan struct{})
	for r := range w.runs {
		r.cancel(why)
	}
	w.note()
	return w.none
}

// closed returns why runs are to stop, nil while they may go on.
func (w *work) closed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}

func (w *work) note() {
	if w.none == nil || len(w.runs) > 0 {
		return
	}
	select {
	case <-w.none:
	default:
		close(w.none)
	}
}
