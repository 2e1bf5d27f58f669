package engine

// One turn of a pool: a batch of requests becomes a step, which is stored, and then they are answered.

// turn carries out a batch of requests: in one step if the store allows it.
func (l *loop) turn(batch []message) {
	batch = claim(batch)
	l.split, l.failed, l.redecided = false, false, false
	if !l.adopted {
		batch = append([]message{&derived{make: (*loop).adoption}}, batch...)
	}
	if len(l.retries) > 0 {
		batch = l.withRetries(batch)
	}
	batch = l.bring(batch)
	l.brakeFor(batch)
	l.seat(batch)
	err := l.refresh(batch)
	if err == nil {
		batch, err = l.carry(batch)
	}
	if err != nil {
		l.fail(batch, err)
	}
	if l.split && !l.failed {
		l.recovered()
	}
	for _, m := range batch {
		l.answerLook(m)
	}
}
