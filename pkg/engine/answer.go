package engine

// Answers to the senders of messages.

import (
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// fail answers a batch whose step failed. Outcomes of runs are kept, to be stored later.
func (l *loop) fail(batch []message, err error) {
	callerErr, fromStore := l.callerError(err)
	if fromStore {
		l.recordFailure(err)
		if l.eng.ctx.Err() == nil {
			l.eng.meter.StepRetried(l.QueueBackend, RetryRefused)
			l.eng.health.Failed(l.QueueBackend, health.Step)
		}
		err = callerErr
	}
	l.stepErr.Store(&err)
	l.failed = true
	for _, m := range batch {
		if r, ok := m.(*report); ok {
			l.retries = append(l.retries, r)
		} else if c := m.base().reply; c != nil && !answeredLast(m) {
			c <- reply{err: err}
		}
	}
}

// answer sends each request of a batch the results of its operations.
func (l *loop) answer(batch []message, results []lot.Result) {
	for i := range results {
		err := results[i].Err
		if err == nil {
			continue
		}
		l.eng.meter.Rejected(l.ID, err.Code)
		if err.Code == park.QueueFull {
			err.RetryAfter = l.retryAfter()
		}
	}
	for _, m := range batch {
		r := m.base()
		n := len(r.ops)
		if ended, ok := m.(*report); ok {
			l.forgetRun(ended.run)
		}
		if r.reply != nil && !answeredLast(m) {
			r.reply <- reply{results: append(r.results[:0], results[:n]...)}
		}
		results = results[n:]
	}
}

// answerLast answers a message whose answer does not depend on the step.
func (l *loop) answerLast(m message) {
	switch m := m.(type) {
	case *loopFunc:
		m.fn(l)
	case *workerLeaves:
		m.granted = m.worker.granted
	default:
		return
	}
	m.base().reply <- reply{}
}
