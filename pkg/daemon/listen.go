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

// listeners are the ways in.
type listeners struct {
	tcp    net.Listener // nil for none
	unix   *net.UnixListener
	socket string
	inode  os.FileInfo // of the socket: another daemon's, by the same name, is not ours to remove
	lock   *os.File    // beside the socket, held by the daemon that listens there
}

const (
	// listenPatience is how long a taken port or socket is waited for. A daemon that was killed while it started a
	// command leaves them to that child for the moment until the child is a program of its own.
	listenPatience = time.Second
	listenRest     = 20 * time.Millisecond
)

// takenError says that another daemon seems to be there.
type takenError string

func (e takenError) Error() string { return string(e) }

// listen opens the ways in.
func listen(ctx context.Context, c *config.Config) (*listeners, error) {
	for giveUp := time.Now().Add(listenPatience); ; {
		l, err := listenOnce(ctx, c)
		if _, taken := errors.AsType[takenError](err); !taken || time.Now().After(giveUp) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(listenRest):
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

func (l *listeners) listenTCP(ctx context.Context, at string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", at)
	if errors.Is(err, syscall.EADDRINUSE) {
		return takenError(fmt.Sprintf("listen: %s is already in use, perhaps by another parkd: stop it, or choose another address with --listen (port 0 takes a free port)", at))
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	l.tcp = ln
	return nil
}

const (
	// maxSocketPath is what fits into a sockaddr_un on every system.
	maxSocketPath = 103
	// temporarySocket is how much longer than its folder the socket's first name is.
	temporarySocket = len("/.s4294967295/s")
)

// checkSocket refuses a path where no socket can be.
func checkSocket(path string) error {
	if long := max(len(path), len(filepath.Dir(path))+temporarySocket) - maxSocketPath; long > 0 {
		return fmt.Errorf("the path of the socket is %d characters too long: choose another with --socket PATH (or turn it off with --socket off): %s", long, path)
	}
	return nil
}

// listenUnix makes the socket in a folder that nobody else can enter and moves it to its place once its mode
// is right, so that there is no instant at which others could connect.
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
	if err := taken(ctx, path); err != nil {
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

// lockSocket sees that of two daemons that start at once one alone gets to look whether somebody listens, and to put its
// own socket in place: each would find that nobody does, and the later would take away the socket of the other.
func lockSocket(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the socket: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = served(path)
	} else if err != nil {
		err = fmt.Errorf("lock the socket: %w", err)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// served says that another daemon listens at a path.
func served(path string) takenError {
	return takenError(fmt.Sprintf("listen: another parkd already serves at %s: stop it, or give this one its own socket with --socket PATH (or turn it off with --socket off)", path))
}

// taken refuses a path where a daemon answers, or where something else than a socket is. What a killed
// daemon left is replaced.
func taken(ctx context.Context, path string) error {
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
	return served(path)
}

// url is where the daemon is reached over TCP.
func (l *listeners) url() string {
	if l.tcp == nil {
		return ""
	}
	at := l.tcp.Addr().(*net.TCPAddr)
	if at.IP.IsUnspecified() {
		return fmt.Sprintf("http://localhost:%d", at.Port)
	}
	return "http://" + strings.ReplaceAll(at.String(), "%", "%25")
}

// close closes what is open. It may be called again.
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
