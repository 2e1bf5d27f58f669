package httpcall

import (
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestNoDescriptors calls while the process has no descriptor for the connection.
func TestNoDescriptors(t *testing.T) {
	s := httptest.NewServer(answer(200, "1"))
	defer s.Close()
	for _, url := range []string{s.URL, strings.Replace(s.URL, "127.0.0.1", "some-host.example", 1)} {
		x, err := New(Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		release := exhaustDescriptors(t)
		o := x.Run(t.Context(), park.Assignment{PoolID: "llm", TaskID: "a", Attempt: 1})
		release()
		if o.Shortage == nil || o.Shortage.Reason != park.ShortFiles || o.Reason != park.ReasonStartDeferred {
			t.Errorf("%s: %+v", url, o)
		}
	}
	x, err := New(Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if o := x.Run(t.Context(), park.Assignment{PoolID: "llm", TaskID: "a", Attempt: 2}); o.Status != park.Completed {
		t.Errorf("with descriptors again: %+v", o)
	}
	s.Close()
	if o := x.Run(t.Context(), park.Assignment{PoolID: "llm", TaskID: "a", Attempt: 3}); o.Shortage != nil || o.Status != park.Failed {
		t.Errorf("nobody listens: %+v", o)
	}
}

// exhaustDescriptors takes all file descriptors that the process may have.
func exhaustDescriptors(t *testing.T) (release func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 200, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	var held []int
	// Connections of earlier tests may still be closing: the descriptors that they free are taken too.
	for quiet := 0; quiet < 10; quiet++ {
		for fd, err := syscall.Dup(0); err == nil; fd, err = syscall.Dup(0) {
			held, quiet = append(held, fd), 0
		}
		time.Sleep(time.Millisecond)
	}
	return func() {
		for _, fd := range held {
			_ = syscall.Close(fd)
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}
}
