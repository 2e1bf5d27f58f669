package daemon

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/config"
)

const otherUID = 65534

// dialAs connects as another user, which requires root: a socket belongs to the file system user of the thread that
// creates it.
func dialAs(t *testing.T, uid int, at string) net.Conn {
	t.Helper()
	if uid != os.Geteuid() && os.Geteuid() != 0 {
		t.Skip("to connect as another user takes root")
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and nothing else runs as that user.
		runtime.LockOSThread()
		if _, err := unix.SetfsuidRetUid(uid); err != nil {
			done <- result{err: err}
			return
		}
		conn, err := dialOnThread(at)
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { r.conn.Close() })
	return r.conn
}

// dialOnThread connects on the current thread; net's own dialer may use another.
func dialOnThread(at string) (net.Conn, error) {
	a, err := net.ResolveTCPAddr("tcp", at)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), at)
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// connPair returns both ends of a connection.
func connPair(t *testing.T, network, at string, dial func(at string) net.Conn) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, at)
	if err != nil {
		t.Skipf("%s: %v", at, err)
	}
	defer ln.Close()
	client = dial(ln.Addr().String())
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server, client
}

// TestFindersTellUsers: each finder returns the user of the other end, and none for a closed end.
func TestFindersTellUsers(t *testing.T) {
	plain := func(network string) func(string) net.Conn {
		return func(at string) net.Conn {
			conn, err := net.Dial(network, at)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
	}
	for i, find := range finders() {
		for name, c := range map[string]struct {
			network, at string
			uid         int
			dial        func(string) net.Conn
		}{
			"own":         {"tcp4", "127.0.0.1:0", os.Geteuid(), plain("tcp4")},
			"own by IPv6": {"tcp6", "[::1]:0", os.Geteuid(), plain("tcp6")},
			"other":       {"tcp4", "127.0.0.1:0", otherUID, func(at string) net.Conn { return dialAs(t, otherUID, at) }},
		} {
			t.Run(fmt.Sprint(i, " ", name), func(t *testing.T) {
				server, client := connPair(t, c.network, c.at, c.dial)
				local, remote := server.LocalAddr().(*net.TCPAddr), server.RemoteAddr().(*net.TCPAddr)
				if uid, ok, err := find(local, remote); err != nil || !ok || uid != c.uid {
					t.Fatalf("user %d (%t), %v, want %d", uid, ok, err, c.uid)
				}
				client.Close()
				if uid, ok, err := find(local, remote); err != nil || ok {
					t.Errorf("closed, it is of user %d, %v", uid, err)
				}
				nobodyThere := &net.TCPAddr{IP: remote.IP, Port: 1}
				if uid, ok, err := find(local, nobodyThere); err != nil || ok {
					t.Errorf("a connection that there is not is of user %d, %v", uid, err)
				}
			})
		}
	}
}

// TestListenerIsNoPeer: if nothing is connected, the kernel returns a listening socket.
func TestListenerIsNoPeer(t *testing.T) {
	server, client := connPair(t, "tcp4", "127.0.0.1:0", func(at string) net.Conn { return dialAs(t, os.Geteuid(), at) })
	local, remote := server.LocalAddr().(*net.TCPAddr), server.RemoteAddr().(*net.TCPAddr)
	linger := client.(*net.TCPConn).SetLinger(0)
	client.Close()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp4", remote.String())
	if linger != nil || err != nil {
		t.Fatal(linger, err)
	}
	defer ln.Close()
	for i, find := range finders() {
		if uid, ok, err := find(local, remote); ok || err != nil {
			t.Errorf("finder %d takes a listener of user %d for the peer, %v", i, uid, err)
		}
	}
}

func TestPeersAreToldHere(t *testing.T) {
	if newOwnerChecker(slog.New(slog.DiscardHandler)) == nil {
		t.Error("no finder works")
	}
}

// TestOtherUsersAreKeptOut: a daemon without tokens refuses every request over loopback from another user, and answers
// its own.
func TestOtherUsersAreKeptOut(t *testing.T) {
	at := runDaemon(t, &config.Config{}).URL
	for uid, want := range map[int]int{os.Geteuid(): http.StatusOK, otherUID: http.StatusForbidden} {
		conn := dialAs(t, uid, strings.TrimPrefix(at, "http://"))
		for range 2 { // the check applies to the whole connection
			_, _ = io.WriteString(conn, "GET /pools HTTP/1.1\r\nHost: localhost\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("user %d: %s, want %d", uid, resp.Status, want)
			}
		}
	}
}
