package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/config"
)

// listeners are the daemon's TCP port and unix socket.
type listeners struct {
	tcp    net.Listener // nil: none
	unix   *net.UnixListener
	socket string
	inode  os.FileInfo // of the socket, so that another daemon's socket of the same name is not removed
	lock   *os.File    // beside the socket, held by the daemon that listens there
}

const (
	// listenTimeout is how long to wait for a port or socket in use. A daemon that is killed while it starts a command
	// leaves them open in the child for the moment until the child executes its own program.
	listenTimeout       = time.Second
	listenRetryInterval = 20 * time.Millisecond
)

// inUseError means that another daemon seems to be running.
type inUseError string

func (e inUseError) Error() string { return string(e) }

// listen opens the port and the socket.
func listen(ctx context.Context, c *config.Config) (*listeners, error) {
	for deadline := time.Now().Add(listenTimeout); ; {
		l, err := listenOnce(ctx, c)
		if _, taken := errors.AsType[inUseError](err); !taken || time.Now().After(deadline) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(listenRetryInterval):
		}
	}
}

func listenOnce(ctx context.Context, c *config.Config) (*listeners, error) {
	l := &listeners{}
	if c.Socket != "" {
		if err := l.listenUnix(ctx, c.Socket); err != nil {
			l.close()
			return nil, err
		}
	}
	if c.Listen != "" {
		if err := l.listenTCP(ctx, c.Listen); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *listeners) listenTCP(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return inUseError(fmt.Sprintf("listen: %s is already in use, perhaps by another parkd: stop it, or choose another address with --listen (port 0 takes a free port)", addr))
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	l.tcp = ln
	return nil
}

const (
	// maxSocketPath is the maximum length that fits into a sockaddr_un on every system.
	maxSocketPath = 103
	// temporarySocket is how much longer the temporary path of the socket is than its folder.
	temporarySocket = len("/.s4294967295/s")
)

// checkSocket returns an error if the path is too long for a socket.
func checkSocket(path string) error {
	if excess := max(len(path), len(filepath.Dir(path))+temporarySocket) - maxSocketPath; excess > 0 {
		return fmt.Errorf("the path of the socket is %d characters too long: choose another with --socket PATH (or turn it off with --socket off): %s", excess, path)
	}
	return nil
}

// listenUnix makes the socket in a private folder and moves it to its place once its mode is right, so that other users
// cannot connect at any time.
func (l *listeners) listenUnix(ctx context.Context, path string) error {
	if err := checkSocket(path); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("create the folder of the socket: %w", err)
	}
	var err error
	if l.lock, err = lockSocket(path); err != nil {
		return err
	}
	if err := checkSocketFree(ctx, path); err != nil {
		return err
	}
	private, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return fmt.Errorf("create the socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(private) }()
	temporary := filepath.Join(private, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ln.SetUnlinkOnClose(false)
	l.unix = ln
	if err := os.Chmod(temporary, 0o600); err != nil {
		return fmt.Errorf("protect the socket: %w", err)
	}
	if l.inode, err = os.Lstat(temporary); err != nil {
		return fmt.Errorf("create the socket: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("create the socket: %w", err)
	}
	l.socket = path
	return nil
}

// lockSocket makes sure that only one of several starting daemons checks whether the socket is in use and puts its own
// in place. Without it both would find the socket free, and the later one would replace that of the other.
func lockSocket(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the socket: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = socketInUse(path)
	} else if err != nil {
		err = fmt.Errorf("lock the socket: %w", err)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// socketInUse means that another daemon listens at a path.
func socketInUse(path string) inUseError {
	return inUseError(fmt.Sprintf("listen: another parkd already serves at %s: stop it, or give this one its own socket with --socket PATH (or turn it off with --socket off)", path))
}

// checkSocketFree returns an error if a daemon answers at the path, or if something else than a socket is there. The
// socket of a killed daemon may be replaced.
func checkSocketFree(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("listen: %s exists and is not a socket: choose another path with --socket", path)
	}
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check the socket: %w", err)
	}
	_ = conn.Close()
	return socketInUse(path)
}

// url is the daemon's URL over TCP.
func (l *listeners) url() string {
	if l.tcp == nil {
		return ""
	}
	addr := l.tcp.Addr().(*net.TCPAddr)
	if addr.IP.IsUnspecified() {
		return fmt.Sprintf("http://localhost:%d", addr.Port)
	}
	return "http://" + strings.ReplaceAll(addr.String(), "%", "%25")
}

// close closes both. It may be called again.
func (l *listeners) close() {
	if l.tcp != nil {
		_ = l.tcp.Close()
	}
	if l.unix != nil {
		_ = l.unix.Close()
		if now, err := os.Lstat(l.socket); err == nil && os.SameFile(now, l.inode) {
			_ = os.Remove(l.socket)
		}
	}
	if l.lock != nil {
		_ = l.lock.Close()
	}
}
