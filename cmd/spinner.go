package cmd

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/parkd-dev/parkd/pkg/park"
)

// spinner shows the state of a task during a wait; without a terminal it shows nothing.
type spinner struct {
	bar *progressbar.ProgressBar
	now func() time.Time
}

func (g *globals) newSpinner() *spinner {
	s := &spinner{now: g.now}
	if g.interactive() {
		s.bar = progressbar.NewOptions(-1,
			progressbar.OptionSetWriter(g.err), progressbar.OptionSpinnerType(14), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionThrottle(50*time.Millisecond),
		)
	}
	return s
}

// poll returns how long a request may wait: on a terminal only briefly, so that the display stays current.
func (s *spinner) poll(otherwise time.Duration) time.Duration {
	if s.bar != nil {
		return time.Second
	}
	return otherwise
}

func (s *spinner) task(t park.Task) {
	if s.bar == nil {
		return
	}
	text := string(t.Status)
	switch {
	case t.Status == park.Queued && t.Position > 0:
		text = fmt.Sprintf("queued, position %d, for %s", t.Position, formatDuration(max(0, s.now().Sub(t.SubmittedAt.Time))))
	case t.Status == park.Running && !t.StartedAt.IsZero():
		text = "running for " + formatDuration(max(0, s.now().Sub(t.StartedAt.Time)))
	}
	s.bar.Describe(clean(t.TaskID) + " " + text)
	_ = s.bar.Add(1)
}

func (s *spinner) close() {
	if s.bar != nil {
		_ = s.bar.Finish()
	}
}
