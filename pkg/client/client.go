// Package client reaches a daemon over HTTP: it is the [park.Service] of another process.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// ErrUnreachable is returned if no daemon answers or its answer breaks off: then it is unknown whether the request had
// an effect. It wraps the network's error.
var ErrUnreachable = errors.New("cannot reach a parkd daemon")

// ErrTooLarge is returned if an answer is longer than a client accepts. Ask for fewer items at once.
var ErrTooLarge = fmt.Errorf("the answer is larger than %d MiB", defaultMaxAnswer>>20)

// Config says where the daemon is: either URL or Socket. A client never tries another address, where another daemon
// might answer.
type Config struct {
	URL    string // http://host:port, or https; a path in it is put before every request's
	Socket string // path of a unix socket
	Token  string // sent as Authorization: Bearer
}

// Client is a daemon as a service. It keeps connections open between requests.
type Client struct {
	base      string
	token     string
	http      *http.Client
	maxAnswer int64 // maximum size of an answer in bytes
}

var _ park.Service = (*Client)(nil)

const (
	// requestTimeout bounds a request, beside what it asks the daemon to wait.
	requestTimeout = time.Minute
	// maxIdleConns lets this many callers work at once without dialling again.
	maxIdleConns = 1024
	maxProblem   = 64 << 10
	// defaultMaxAnswer is more than any page that a daemon sends by default, and less than the memory of a machine.
	defaultMaxAnswer = 128 << 20
	maxHeaders       = 1 << 20
)

// New returns a client. It does not connect to the daemon yet.
func New(c Config) (*Client, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	transport := &http.Transport{
		DialContext: dialer.DialContext, Proxy: http.ProxyFromEnvironment,
		MaxIdleConns: maxIdleConns, MaxIdleConnsPerHost: maxIdleConns, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 10 * time.Second, DisableCompression: true, MaxResponseHeaderBytes: maxHeaders,
	}
	base := "http://localhost"
	switch {
	case c.Socket != "" && c.URL != "":
		return nil, errors.New("give either the address or the socket of the daemon, not both")
	case c.Socket != "":
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", c.Socket)
		}
	default:
		u, err := url.Parse(c.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" {
			return nil, fmt.Errorf("the daemon's address must look like http://127.0.0.1:7275, not %q", c.URL)
		}
		base = strings.TrimRight(u.String(), "/")
	}
	return &Client{base: base, token: c.Token, maxAnswer: defaultMaxAnswer, http: &http.Client{
		Transport: transport,
		// A daemon never redirects. A redirect comes from another server, which must not get the token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// WithTransport returns a client of the same daemon whose requests go through t.
func (c *Client) WithTransport(t http.RoundTripper) *Client {
	other, through := *c, *c.http
	through.Transport = t
	other.http = &through
	return &other
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Health returns the daemon's description of its own state.
func (c *Client) Health(ctx context.Context) (map[string]any, error) {
	var out map[string]any
	return out, c.call(ctx, request{method: http.MethodGet, path: "/health"}, &out)
}

// request is one request of a client.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	body   any           // sent as JSON; nil for none
	wait   time.Duration // how long the daemon is asked to wait
	// unbounded requests have no timeout: they last as long as the work that they ask for.
	unbounded bool
	header    http.Header
}

// call sends a request and decodes the answer into out, unless out is nil: as JSON, or unchanged if out is for bytes.
func (c *Client) call(ctx context.Context, r request, out any) error {
	if !r.unbounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTimeout+r.wait)
		defer cancel()
	}
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// Larger answers are not read to their end, so their connection cannot be reused.
	b, err := c.read(resp)
	switch {
	case err != nil:
		return brokenError(ctx, err)
	case int64(len(b)) > c.maxAnswer:
		return ErrTooLarge
	case out == nil || resp.StatusCode == http.StatusNoContent:
		return nil
	}
	if whole, ok := out.(*[]byte); ok {
		*whole = b
		return nil
	}
	return decode(resp.Request.URL.Host, b, out)
}

// read reads an answer, up to one byte more than a client accepts.
func (c *Client) read(resp *http.Response) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(resp.ContentLength, 0), maxPreallocated)) + bytes.MinRead) // ReadFrom needs spare room to see the end
	_, err := b.ReadFrom(io.LimitReader(resp.Body, c.maxAnswer+1))
	return b.Bytes(), err
}

// maxPreallocated bounds the memory that is allocated in advance for an answer because of its declared length.
const maxPreallocated = 4 << 20

func decode(host string, b []byte, out any) error {
	if err := json.Unmarshal(b, out); err != nil {
		return notParkdError(host, err)
	}
	return nil
}

func notParkdError(host string, err error) error {
	return fmt.Errorf("the answer of %s is not that of a parkd daemon: %w", host, err)
}

// send sends a request and returns the answer, which the caller closes, or the error in it.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, park.Errorf(park.InvalidRequest, "cannot encode the request as JSON: %v", err)
		}
		body = bytes.NewReader(b)
	}
	at := c.base + r.path
	if len(r.query) > 0 {
		at += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, at, body)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	maps.Copy(req.Header, r.header)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, brokenError(ctx, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer resp.Body.Close()
		return nil, problemOf(resp)
	}
	return resp, nil
}

// brokenError returns the error of a request that got no complete answer.
func brokenError(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return ctx.Err()
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" && op.Addr != nil {
		return &dialError{op}
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// dialError is an ErrUnreachable with the address at which no daemon answered.
type dialError struct{ op *net.OpError }

// Error implements error.
func (e *dialError) Error() string {
	why := e.op.Err
	if call, ok := errors.AsType[*os.SyscallError](why); ok {
		why = call.Err
	}
	return fmt.Sprintf("%v at %s: %v", ErrUnreachable, e.op.Addr, why)
}

// Unwrap returns the causes.
func (e *dialError) Unwrap() []error { return []error{ErrUnreachable, e.op} }

// A problem is an error as the daemon sends it (RFC 9457).
type problem struct {
	Title  string    `json:"title"`
	Detail string    `json:"detail"`
	Code   park.Code `json:"code"`
	TaskID string    `json:"taskId"`
}

// problemOf returns the error in an answer.
func problemOf(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	var p problem
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/problem+json" || json.Unmarshal(b, &p) != nil || p.Code == "" {
		return fmt.Errorf("%s answered %d %s and may not be a parkd daemon",
			resp.Request.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	e := &park.Error{Code: p.Code, Detail: p.Detail, TaskID: p.TaskID}
	if secs, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 64); err == nil {
		e.RetryAfter = retryAfter(secs)
	}
	return e
}

// retryAfter returns a wait of this many seconds, or the longest possible duration.
func retryAfter(secs int64) time.Duration {
	return time.Duration(min(max(secs, 0), int64(park.MaxDuration/time.Second))) * time.Second
}

// path joins escaped segments.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(segment(s))
	}
	return b.String()
}

// segment escapes one segment of a path. It also escapes the names . and .., which would otherwise change the folder.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func setLimit(q url.Values, n int) {
	if n != 0 {
		q.Set("limit", strconv.Itoa(n))
	}
}

func setTime(q url.Values, name string, t park.Time) {
	if !t.IsZero() {
		q.Set(name, t.String())
	}
}

func setWait(q url.Values, d time.Duration) {
	if d > 0 {
		q.Set("wait", d.String())
	}
}
