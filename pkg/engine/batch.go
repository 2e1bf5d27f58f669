package engine

// A batch of messages becomes a step, which is stored; then the messages are answered.

// processBatch carries out a batch: in one step if the store accepts it.
func (l *loop) processBatch(batch []message) {
	batch = claimAll(batch)
	l.split, l.failed, l.redecided = false, false, false
	if !l.initialized {
		batch = append([]message{&derived{derive: (*loop).initialOps}}, batch...)
	}
	if len(l.retries) > 0 {
		batch = l.withRetries(batch)
	}
	batch = l.addDelegated(batch)
	l.recordShortages(batch)
	l.registerWaiters(batch)
	err := l.refresh(batch)
	if err == nil {
		batch, err = l.commitBatch(batch)
	}
	if err != nil {
		l.fail(batch, err)
	}
	if l.split && !l.failed {
		l.recordRecovery()
	}
	for _, m := range batch {
		l.answerLast(m)
	}
}
