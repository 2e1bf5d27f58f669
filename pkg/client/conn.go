package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Conn submits over one connection of its own, one request after the other. It is for load: it spares what the client
// of net/http spends on being shared (two goroutines and four handovers a request), so that a machine which runs both
// ends measures the daemon and not the client. It is not for use by two goroutines at once, speaks no TLS and uses no
// proxy. A connection that breaks is made anew by the next request; the one that it broke under is not sent again.
type Conn struct {
	ctx    context.Context
	addr   string
	prefix string // of paths
	fixed  string // headers of every request
	conn   net.Conn
	in     *bufio.Reader
	out    []byte
	answer bytes.Buffer
	most   int64 // bytes of it
	stop   func() bool
}

// Dial returns a connection to the daemon. It is made with the first request, and closed when ctx ends.
func (c *Client) Dial(ctx context.Context) (*Conn, error) {
	u, err := url.Parse(c.base)
	if err != nil || u.Scheme != "http" {
		return nil, fmt.Errorf("a connection of its own needs an address like http://127.0.0.1:7275, not %q", c.base)
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "80")
	}
	k := &Conn{ctx: ctx, addr: addr, prefix: u.EscapedPath(), most: c.most}
	k.fixed = " HTTP/1.1\r\nHost: " + u.Host + "\r\nContent-Type: application/json\r\n"
	if c.token != "" {
		k.fixed += "Authorization: Bearer " + c.token + "\r\n"
	}
	return k, nil
}

// Submit is [park.TaskService.Submit].
func (k *Conn) Submit(ctx context.Context, pool string, tasks []park.Submission) ([]park.SubmitResult, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	at, body := path("pools", pool, "tasks"), any(nil)
	if len(tasks) == 1 {
		body = &tasks[0]
	} else {
		at, body = path("pools", pool)+"/tasks:batch", map[string]any{"tasks": tasks}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, park.Errorf(park.InvalidRequest, "cannot encode the request as JSON: %v", err)
	}
	status, header, answer, err := k.post(at, b)
	if err != nil {
		return nil, err
	}
	if len(tasks) == 1 {
		return oneResult(k.addr, status, header, answer)
	}
	if status != http.StatusOK {
		return nil, problemIn(k.addr, status, header, answer)
	}
	return batchResults(k.addr, answer, len(tasks))
}

// Post sends a body that is JSON already to a path of the daemon and returns the answer, which holds until the next
// call. The error tells that there was none.
func (k *Conn) Post(path string, body []byte) (status int, answer []byte, err error) {
	status, _, answer, err = k.post(path, body)
	return status, answer, err
}

func (k *Conn) post(path string, body []byte) (int, http.Header, []byte, error) {
	status, header, err := k.exchange(path, body)
	if err != nil {
		return 0, nil, nil, broken(k.ctx, err)
	}
	return status, header, k.answer.Bytes(), nil
}

// exchange sends a request and reads its answer. After an error the connection is gone.
func (k *Conn) exchange(path string, body []byte) (status int, header http.Header, err error) {
	if err := k.connect(); err != nil {
		return 0, nil, err
	}
	defer func() {
		if err != nil {
			k.Close()
		}
	}()
	k.out = append(append(append(append(k.out[:0], "POST "...), k.prefix...), path...), k.fixed...)
	k.out = append(strconv.AppendInt(append(k.out, "Content-Length: "...), int64(len(body)), 10), "\r\n\r\n"...)
	k.out = append(k.out, body...)
	_ = k.conn.SetDeadline(time.Now().Add(answerWithin))
	if _, err := k.conn.Write(k.out); err != nil {
		return 0, nil, err
	}
	return k.read()
}

func (k *Conn) connect() error {
	if k.conn != nil {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: answerWithin}).DialContext(k.ctx, "tcp", k.addr)
	if err != nil {
		return err
	}
	k.conn = conn
	k.stop = context.AfterFunc(k.ctx, func() { _ = conn.Close() })
	if k.in == nil {
		k.in = bufio.NewReader(conn)
	} else {
		k.in.Reset(conn)
	}
	return nil
}

// Close closes the connection.
func (k *Conn) Close() {
	if k.conn != nil {
		k.stop()
		_ = k.conn.Close()
		k.conn = nil
	}
}

// read reads an answer. Of its headers only those of an answer that is none of the good ones are kept.
func (k *Conn) read() (status int, header http.Header, err error) {
	line, err := k.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, nil, fmt.Errorf("the answer begins with %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("the answer begins with %q", line)
	}
	length, closes := int64(-1), false
	for {
		line, err := k.in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		if len(name) == 0 {
			break
		}
		value = bytes.TrimSpace(value)
		switch {
		case is(name, "Content-Length"):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return 0, nil, fmt.Errorf("content length %q", value)
			}
		case is(name, "Connection"):
			closes = is(value, "close")
		}
		if status >= http.StatusMultipleChoices {
			if header == nil {
				header = make(http.Header)
			}
			header.Add(string(name), string(value))
		}
	}
	err = k.readBody(length)
	if closes {
		k.Close()
	}
	return status, header, err
}

func (k *Conn) readBody(length int64) error {
	k.answer.Reset()
	if length < 0 {
		n, err := k.answer.ReadFrom(io.LimitReader(httputil.NewChunkedReader(k.in), k.most+1))
		if err == nil && n > k.most {
			err = ErrTooLarge
		}
		if err != nil {
			return err
		}
		_, err = k.in.ReadSlice('\n') // the empty trailer
		return err
	}
	if length > k.most {
		return ErrTooLarge
	}
	_, err := io.CopyN(&k.answer, k.in, length)
	return err
}

// is compares a header's name, whose case says nothing.
func is(b []byte, s string) bool { return len(b) == len(s) && strings.EqualFold(string(b), s) }
