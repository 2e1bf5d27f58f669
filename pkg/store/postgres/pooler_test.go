package postgres_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// pooler is a transaction pooler: it gives each transaction of its clients to the server session that has been idle
// longest, and refuses clients that set settings.
type pooler struct {
	sessions chan *session
	greeting []byte // the server's messages at the start of a session
	all      sync.WaitGroup
}

const poolerSessions = 5

// session is one connection to the server. A message is a letter, a length that includes itself, and a body.
type session struct {
	net.Conn
	from *bufio.Reader
	to   *bufio.Writer
}

// newPooler returns the DSN of a database behind a pooler.
func newPooler(t testing.TB, dsn string) string {
	t.Helper()
	var server, database string
	for field := range strings.FieldsSeq(dsn) {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "host":
			server = filepath.Join(value, ".s.PGSQL.5432")
		case "dbname":
			database = value
		}
	}
	p := &pooler{sessions: make(chan *session, poolerSessions)}
	for range poolerSessions {
		s, err := p.connect(server, database)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		p.sessions <- s
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = p.serve(c)
			}()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.all.Wait()
	})
	return fmt.Sprintf("host=127.0.0.1 port=%d sslmode=disable user=parkd dbname=%s", l.Addr().(*net.TCPAddr).Port, database)
}

// connect starts a session with the server.
func (p *pooler) connect(server, database string) (*session, error) {
	c, err := net.Dial("unix", server)
	if err != nil {
		return nil, err
	}
	s := &session{c, bufio.NewReader(c), bufio.NewWriter(c)}
	body := binary.BigEndian.AppendUint32(nil, 196608) // the protocol version
	body = append(body, "user\x00parkd\x00database\x00"+database+"\x00client_encoding\x00UTF8\x00\x00"...)
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)); err != nil {
		return nil, err
	}
	p.greeting = nil
	for {
		m, err := message(s.from)
		if err != nil {
			return nil, err
		}
		switch m[0] {
		case 'E':
			return nil, fmt.Errorf("the server refuses: %q", m)
		case 'R', 'S':
			p.greeting = append(p.greeting, m...)
		case 'Z':
			p.greeting = append(p.greeting, m...)
			return s, nil
		}
	}
}

func message(r *bufio.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	m := append(head, make([]byte, int(binary.BigEndian.Uint32(head[1:]))-4)...)
	_, err := io.ReadFull(r, m[5:])
	return m, err
}

// serve serves one client until its end.
func (p *pooler) serve(c net.Conn) error {
	from := bufio.NewReader(c)
	length := make([]byte, 4)
	if _, err := io.ReadFull(from, length); err != nil {
		return err
	}
	start := make([]byte, int(binary.BigEndian.Uint32(length))-4)
	if _, err := io.ReadFull(from, start); err != nil {
		return err
	}
	if bytes.Contains(start, []byte("_timeout")) {
		refusal := "SFATAL\x00VFATAL\x00C08P01\x00Munsupported startup parameter\x00\x00"
		_, err := c.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(refusal)+4)), refusal...))
		return err
	}
	if _, err := c.Write(p.greeting); err != nil {
		return err
	}
	for {
		if err := p.transaction(c, from); err != nil {
			return err
		}
	}
}

// transaction passes one transaction to a session.
func (p *pooler) transaction(c net.Conn, from *bufio.Reader) error {
	m, err := message(from)
	if err != nil || m[0] == 'X' {
		return io.EOF
	}
	s := <-p.sessions
	defer func() { p.sessions <- s }()
	for {
		if _, err := s.to.Write(m); err != nil {
			return err
		}
		if m[0] == 'S' || m[0] == 'Q' { // the server answers these
			over, err := s.answer(c)
			if err != nil || over {
				return err
			}
		}
		if m, err = message(from); err != nil || m[0] == 'X' {
			return s.abort()
		}
	}
}

// answer passes the server's messages on until it is ready for the next query. It reports whether the transaction has
// ended.
func (s *session) answer(c io.Writer) (over bool, err error) {
	if err := s.to.Flush(); err != nil {
		return false, err
	}
	to := bufio.NewWriter(c)
	for {
		m, err := message(s.from)
		if err != nil {
			return false, err
		}
		if _, err := to.Write(m); err != nil {
			return false, err
		}
		if m[0] == 'Z' {
			return m[5] == 'I', to.Flush()
		}
	}
}

// abort ends the transaction of a client that has disconnected.
func (s *session) abort() error {
	if _, err := s.to.Write([]byte("S\x00\x00\x00\x04Q\x00\x00\x00\x0dROLLBACK\x00")); err != nil {
		return err
	}
	for range 2 {
		if _, err := s.answer(io.Discard); err != nil {
			return err
		}
	}
	return io.EOF
}

// TestBehindAPooler runs the suite of all stores through a transaction pooler.
func TestBehindAPooler(t *testing.T) {
	storetest.Run(t, func(t testing.TB) store.Store { return openAt(t, newPooler(t, cluster.Migrated(t))) })
}

// TestMigrationsBehindAPooler migrates through a pooler from several places at the same time.
func TestMigrationsBehindAPooler(t *testing.T) {
	dsn := newPooler(t, cluster.Empty(t))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := openAt(t, dsn).Check(t.Context()); err != nil {
		t.Error(err)
	}
}
