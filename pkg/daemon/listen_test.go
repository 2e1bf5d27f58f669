package daemon

import (
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/config"
)

// TestWaysInLeftForAMoment: a daemon waits for a port and socket that a child of a killed daemon holds for a moment,
// and does not take them from a running daemon.
func TestWaysInLeftForAMoment(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	first, err := listen(t.Context(), &config.Config{Listen: "127.0.0.1:0", Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	c := &config.Config{Listen: first.tcp.Addr().String(), Socket: socket}
	if l, err := listen(t.Context(), c); err == nil {
		l.close()
		t.Error("what a daemon holds is taken from it")
	}
	time.AfterFunc(listenTimeout/4, func() {
		_ = first.unix.Close()
		_ = first.lock.Close()
	})
	time.AfterFunc(listenTimeout/2, func() { _ = first.tcp.Close() })
	second, err := listen(t.Context(), c)
	if err != nil {
		t.Fatalf("what was given back is not taken: %v", err)
	}
	defer second.close()
	for network, at := range map[string]string{"tcp": c.Listen, "unix": socket} {
		conn, err := net.Dial(network, at)
		if err != nil {
			t.Errorf("%s: %v", network, err)
			continue
		}
		_ = conn.Close()
	}
}

// TestTwoAtOnce: if several daemons start at once, one gets the socket and keeps it.
func TestTwoAtOnce(t *testing.T) {
	for range 100 {
		c := &config.Config{Socket: filepath.Join(t.TempDir(), "s")}
		var started sync.WaitGroup
		var all [4]*listeners
		var errs [len(all)]error
		for i := range all {
			started.Go(func() { all[i], errs[i] = listenOnce(t.Context(), c) })
		}
		started.Wait()
		n := 0
		for i, l := range all {
			if errs[i] == nil {
				n++
				defer l.close()
			} else if _, taken := errors.AsType[inUseError](errs[i]); !taken {
				t.Errorf("refused with %v", errs[i])
			}
		}
		if n != 1 {
			t.Fatalf("%d daemons listen at one socket", n)
		}
		conn, err := net.Dial("unix", c.Socket)
		if err != nil {
			t.Fatalf("the one that got the socket is not reached: %v", err)
		}
		_ = conn.Close()
	}
}
