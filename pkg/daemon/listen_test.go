package daemon

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/config"
)

// TestWaysInLeftForAMoment: what a killed daemon's child still holds is waited for, what a daemon holds is not
// taken from it.
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
	time.AfterFunc(listenPatience/4, func() { _ = first.unix.Close() })
	time.AfterFunc(listenPatience/2, func() { _ = first.tcp.Close() })
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
