package command

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// logWriter writes the log of one run, part by part, into the folder of its task.
type logWriter struct {
	mu      sync.Mutex
	dir     int
	fd      int // -1: none is open
	part    part
	size    int64
	limit   int64
	failure error
}

func newLogWriter(dir, attempt int, limit int64) *logWriter {
	l := &logWriter{dir: dir, fd: -1, part: part{attempt: attempt}, limit: limit}
	// Even an empty log tells that the run has begun.
	l.setError(l.nextPart())
	return l
}

func (l *logWriter) setError(err error) {
	if l.failure == nil {
		l.failure = err
	}
}

// nextPart begins the next part and removes the one before the last.
func (l *logWriter) nextPart() error {
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
		l.fd = -1
	}
	l.part.number++
	// The flags keep a fifo or a link of that name from blocking the shim, and the command with it.
	fd, err := unix.Openat(l.dir, l.part.name(), unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", l.part.name(), err)
	}
	l.fd, l.size = fd, 0
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil || info.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.Join(fmt.Errorf("%s is no file", l.part.name()), err)
	}
	old := part{l.part.attempt, l.part.number - 2}
	if err := unix.Unlinkat(l.dir, old.name(), 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// write appends b. After an error the rest is lost and the command goes on.
func (l *logWriter) write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(b) > 0 && l.failure == nil {
		if l.size >= l.limit {
			l.setError(l.nextPart())
			continue
		}
		n, err := unix.Write(l.fd, b[:min(int64(len(b)), l.limit-l.size)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			l.setError(err)
			return
		}
		b, l.size = b[n:], l.size+int64(n)
	}
}

func (l *logWriter) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd >= 0 {
		l.setError(unix.Close(l.fd))
		l.fd = -1
	}
}

func (l *logWriter) errorText() string {
	if l.failure == nil {
		return ""
	}
	return l.failure.Error()
}

// tail keeps the end of a stream.
type tail struct {
	limit int
	buf   []byte
	cut   bool
}

func (t *tail) add(b []byte) {
	t.buf = append(t.buf, b...)
	// Cut at twice the size, so that each byte is moved once at most.
	if len(t.buf) > 2*t.limit {
		t.trim()
	}
}

func (t *tail) trim() {
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
}

// end returns the end of the stream and whether it was truncated.
func (t *tail) end() ([]byte, bool) {
	t.trim()
	return t.buf, t.cut
}
