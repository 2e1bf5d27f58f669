package daemon

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// finders are ordered by cost: the first asks the kernel for one socket, the second reads the list of all.
func finders() []ownerFinder { return []ownerFinder{findByDiag, findByProc} }

// The request for a socket (sock_diag(7), struct inet_diag_req_v2) and the reply (inet_diag_msg).
const (
	diagHeader  = 16 // struct nlmsghdr
	diagSocket  = diagHeader + 8
	diagRequest = diagSocket + 48
	diagState   = diagHeader + 1
	diagRemote  = diagHeader + 4 + 2 // the port
	diagUID     = diagHeader + 4 + 48 + 12
	diagInode   = diagUID + 4
	diagAnswer  = diagInode + 4

	tcpListen = 10 // enum in net/tcp_states.h

	diagTimeout = time.Second
)

// findByDiag asks the kernel for the socket at the other end.
func findByDiag(local, remote *net.TCPAddr) (uid int, ok bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, false, fmt.Errorf("open sock_diag: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	limit := unix.NsecToTimeval(int64(diagTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return 0, false, fmt.Errorf("open sock_diag: %w", err)
	}
	if err := unix.Sendto(fd, newDiagRequest(remote, local), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, false, fmt.Errorf("ask sock_diag: %w", err)
	}
	b := make([]byte, 4<<10)
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err != nil {
		return 0, false, fmt.Errorf("hear sock_diag: %w", err)
	}
	return parseDiagReply(b[:n], local.Port)
}

// newDiagRequest asks for the socket at one address that is connected to another.
func newDiagRequest(at, to *net.TCPAddr) []byte {
	b := make([]byte, diagRequest)
	binary.NativeEndian.PutUint32(b, diagRequest)
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	family, src, dst := byte(unix.AF_INET), at.IP.To4(), to.IP.To4()
	if src == nil || dst == nil {
		family, src, dst = unix.AF_INET6, at.IP.To16(), to.IP.To16()
	}
	b[diagHeader], b[diagHeader+1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[diagHeader+4:], 0xffffffff) // in any state
	s := b[diagSocket:]
	binary.BigEndian.PutUint16(s, uint16(at.Port))
	binary.BigEndian.PutUint16(s[2:], uint16(to.Port))
	copy(s[4:20], src)
	copy(s[20:36], dst)
	binary.NativeEndian.PutUint64(s[40:], 0xffffffffffffffff) // no cookie
	return b
}

// parseDiagReply reads the reply. If there is no such connection, the kernel may return a socket that listens at the
// address. A socket that its process has closed has no inode, and its user cannot be trusted.
func parseDiagReply(b []byte, port int) (uid int, ok bool, err error) {
	if len(b) < diagHeader+4 {
		return 0, false, errors.New("hear sock_diag: the answer is cut short")
	}
	if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR {
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[diagHeader:])))
		if errno == unix.ENOENT || errno == 0 {
			return 0, false, nil
		}
		return 0, false, fmt.Errorf("ask sock_diag: %w", errno)
	}
	if len(b) < diagAnswer {
		return 0, false, errors.New("hear sock_diag: the answer is cut short")
	}
	if b[diagState] == tcpListen || int(binary.BigEndian.Uint16(b[diagRemote:])) != port || binary.NativeEndian.Uint32(b[diagInode:]) == 0 {
		return 0, false, nil
	}
	return int(binary.NativeEndian.Uint32(b[diagUID:])), true, nil
}

// findByProc searches the kernel's lists of all sockets (proc_net_tcp.txt), if sock_diag is not available.
func findByProc(local, remote *net.TCPAddr) (uid int, ok bool, err error) {
	for _, list := range []struct {
		path string
		size int
	}{{"/proc/self/net/tcp", net.IPv4len}, {"/proc/self/net/tcp6", net.IPv6len}} {
		at, to := procAddress(remote, list.size), procAddress(local, list.size)
		if at == "" || to == "" {
			continue
		}
		uid, ok, err = findInList(list.path, at, to)
		if ok || err != nil && !errors.Is(err, os.ErrNotExist) {
			return uid, ok, err
		}
	}
	return 0, false, nil
}

func findInList(path, at, to string) (uid int, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false, fmt.Errorf("list sockets: %w", err)
	}
	defer f.Close()
	return findLine(f, at, to)
}

// findLine finds a socket in a list; see parseDiagReply.
func findLine(list io.Reader, at, to string) (uid int, ok bool, err error) {
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[1] != at || f[2] != to || f[9] == "0" {
			continue
		}
		uid, err = strconv.Atoi(f[7])
		return uid, err == nil, err
	}
	return 0, false, lines.Err()
}

// procAddress returns an address in the format of the lists: words in the machine's byte order, in hex; "" if it has
// none there.
func procAddress(a *net.TCPAddr, size int) string {
	ip := a.IP.To4()
	if size == net.IPv6len {
		ip = a.IP.To16()
	}
	if ip == nil {
		return ""
	}
	b := make([]byte, len(ip))
	for i := 0; i < len(ip); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(ip[i:]))
	}
	return strings.ToUpper(hex.EncodeToString(b)) + fmt.Sprintf(":%04X", a.Port)
}
