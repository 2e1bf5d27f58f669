package engine

import (
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/store"
)

// defaultPatience is how long a call waits for the store to say what became of it.
const defaultPatience = 10 * time.Second

// settle sends a step again of which it is not known whether it was committed, until the store says so. Until then
// nothing else is decided, and who comes meanwhile is told that the store is away. Those who asked for the step wait,
// for to tell them that nothing was accepted might not be true; once their patience is over they are told that it is not
// known, see [pool.waitBy]. What they asked for stays in the step.
func (l *loop) resolveInDoubt(st *store.Step, err error) error {
	l.eng.log.Error("step in doubt: asking until the store answers", "pool", l.ID, "rev", st.Row.Rev, "error", err)
	rejection := l.notAccepted(nil)
	l.stepErr.Store(&rejection)
	timer := time.NewTimer(maxTimer)
	defer timer.Stop()
	for errors.Is(err, store.ErrInDoubt) {
		retryAt := l.eng.env.Mono() + retryInterval
		for d := retryInterval; d > 0; d = retryAt - l.eng.env.Mono() {
			m, ok := l.firstMessage(timer, d)
			if !ok {
				return err
			}
			if m != nil {
				l.rejectInDoubt(m, rejection)
			}
		}
		l.eng.meter.StepRetried(l.QueueBackend, RetryInDoubt)
		l.eng.health.Failed(l.QueueBackend, health.Step)
		err = l.queue.Commit(l.ctx, st)
	}
	return err
}

// rejectInDoubt answers a message that comes while a step is in doubt. What must not be lost is kept for later.
func (l *loop) rejectInDoubt(m message, rejection error) {
	switch m := m.(type) {
	case *report:
		m.run.returned = true
		l.retries = append(l.retries, m)
	case *workerLeaves: // the step may hold leases for it
		l.retries = append(l.retries, m)
	case *loopFunc:
		l.answerLast(m)
	case *refreshRequest:
		l.mustReload = l.mustReload || m.reload
		l.refreshPending.Store(false)
		m.reply <- reply{err: rejection}
	default:
		m.base().reply <- reply{err: rejection}
	}
}
