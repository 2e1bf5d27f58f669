package engine

import (
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/store"
)

// defaultPatience is the default of [Config.Patience].
const defaultPatience = 10 * time.Second

// resolveInDoubt resends a step whose commit is in doubt until the store says whether it was committed. Until then the
// pool decides nothing else, and new requests are rejected with the answer that the store is unavailable. Requests that
// are part of the step wait, because the answer that nothing was accepted might be false. At their deadlines they are
// answered that the outcome is unknown; see [pool.waitBy]. They stay part of the step.
func (l *loop) resolveInDoubt(st *store.Step, err error) error {
	l.eng.log.Error("commit in doubt: asking until the store answers", "pool", l.ID, "rev", st.Row.Rev, "error", err)
	rejection := l.storeError(nil)
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

// rejectInDoubt answers a message that comes while a step is in doubt. Messages that must not be lost are kept for
// later.
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
