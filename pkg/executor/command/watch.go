package command

import "time"

// watch signals when something in a folder may have changed.
type watch struct {
	changed <-chan struct{}
	stop    func()
}

// pollInterval bounds how late a change is seen without inotify.
const pollInterval = 100 * time.Millisecond

// newPollWatch returns a watch that signals at regular intervals.
func newPollWatch() *watch {
	changed, quit := make(chan struct{}), make(chan struct{})
	go func() {
		t := time.NewTicker(pollInterval)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-quit:
				return
			}
			select {
			case changed <- struct{}{}:
			case <-quit:
				return
			}
		}
	}()
	return &watch{changed: changed, stop: func() { close(quit) }}
}
