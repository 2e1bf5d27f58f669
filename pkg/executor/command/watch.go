package command

import "time"

// watch tells when something in a folder may have changed.
type watch struct {
	changed <-chan struct{}
	stop    func()
}

// pollRest bounds how late a change is seen where the system does not tell.
const pollRest = 100 * time.Millisecond

// poll is a watch that only looks at the time.
func poll() *watch {
	changed, quit := make(chan struct{}), make(chan struct{})
	go func() {
		t := time.NewTicker(pollRest)
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
