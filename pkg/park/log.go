package park

import "io"

// LogQuery says which part of a task's output is read.
type LogQuery struct {
	// Attempt is the attempt that is read, from 1. 0 is the latest one, and with Follow also those after it.
	Attempt int
	// Offset is how many bytes of the attempt are left out, from its beginning.
	Offset int64
	// Follow goes on until the attempt is over; without Attempt until the task has ended.
	Follow bool
}

// Check returns an [InvalidRequest] for a query with impossible values.
func (q LogQuery) Check() error {
	switch {
	case q.Attempt < 0:
		return Errorf(InvalidRequest, "attempt must be at least 1, not %d; leave it out for the latest", q.Attempt)
	case q.Offset < 0:
		return Errorf(InvalidRequest, "offset must be at least 0, not %d", q.Offset)
	}
	return nil
}

// Log is the output of an attempt, open for reading.
type Log struct {
	io.ReadCloser
	// Attempt is the attempt that it begins with.
	Attempt int
	// Offset is the place within the attempt, in bytes, at which it begins. Where it is more than was asked for, the
	// bytes in between were rotated away.
	Offset int64
}
