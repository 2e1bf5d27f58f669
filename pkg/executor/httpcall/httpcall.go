// Package httpcall runs a task as one HTTP request: it posts the payload to the configured address, and the reply is the
// result. A task cannot choose the address.
package httpcall

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/internal/keptjson"
	"github.com/parkd-dev/parkd/pkg/internal/shortage"
	"github.com/parkd-dev/parkd/pkg/park"
)

// The reasons of failed calls, in addition to those of [park].
const (
	ReasonStatus   = "http_status"     // the reply is not a 2xx
	ReasonTooLarge = "reply_too_large" // the reply is longer than allowed
)

// Config is what an Executor is made from. Only URL is needed.
type Config struct {
	URL     string
	Headers map[string]string // sent with every request; may hold secrets
	// MaxReply bounds a reply, in bytes. Default 4 MiB.
	MaxReply int64
}

const (
	defaultMaxReply = 4 << 20
	maxExcerpt      = 500
	dialTimeout     = 10 * time.Second
)

// Executor posts payloads. It implements [park.Executor].
//
// Each request carries Parkd-Task-Id, Parkd-Pool, Parkd-Tenant, Parkd-Attempt and Parkd-Units, and an
// Idempotency-Key that is the same for all attempts of a task. Redirects are not followed, because they lead to an address
// that the operator did not choose. Proxies are taken from the environment as usual. Only the task's timeout limits how
// long a reply may take.
//
// One attempt is one POST on a new connection, never two: the server may close a kept connection at the moment it is used,
// and then it is not known whether it has processed the request. A retry is the task's next attempt. The Retry-After of a
// 429 or 503 is the shortest wait before it.
//
// A JSON reply is the result as it is; text becomes a string. Anything else becomes {"mediaType","base64"}, and so do
// images, audio, video and application/octet-stream, whatever their bytes.
type Executor struct {
	cfg  Config
	http *http.Client
}

var _ park.Executor = (*Executor)(nil)

// New checks the configuration and returns an Executor.
func New(c Config) (*Executor, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("url must be a URL such as http://127.0.0.1:8000/path")
	}
	if c.MaxReply == 0 {
		c.MaxReply = defaultMaxReply
	}
	if u.Scheme == "https" {
		// The certificates are read once, at first use. If that failed for want of descriptors, none would be trusted ever after.
		_, _ = x509.SystemCertPool()
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true,
		DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return &Executor{cfg: c, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Run implements [park.Executor].
func (e *Executor) Run(ctx context.Context, a park.Assignment) park.Outcome {
	req, err := e.request(ctx, a)
	if err != nil {
		return park.Failure(park.ReasonExecutorError, err.Error())
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return failedRequest(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, e.cfg.MaxReply+1))
	if err != nil {
		return failedRequest(ctx, err)
	}
	switch {
	case resp.StatusCode/100 == 3:
		return park.Failure(ReasonStatus, fmt.Sprintf("the reply is %s; redirects are not followed", resp.Status))
	case resp.StatusCode/100 != 2:
		o := park.Failure(ReasonStatus, fmt.Sprintf("the reply is %s: %s", resp.Status, excerpt(body)))
		o.RetryAfter = retryAfter(resp, time.Now())
		return o
	case int64(len(body)) > e.cfg.MaxReply:
		return park.Failure(ReasonTooLarge, fmt.Sprintf("the reply has more than %d bytes: max_reply_bytes of the pool's executor allows more", e.cfg.MaxReply))
	}
	result, err := resultOf(resp.Header.Get("Content-Type"), body)
	if err != nil {
		return park.Failure(park.ReasonExecutorError, err.Error())
	}
	return park.Outcome{Status: park.Completed, Result: result}
}

func (e *Executor) request(ctx context.Context, a park.Assignment) (*http.Request, error) {
	payload := []byte(a.Payload)
	if len(payload) == 0 {
		payload = []byte("null")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.cfg.URL, bytes.NewReader(payload))
	if err != nil {
		return nil, errors.New("cannot build the request")
	}
	req.GetBody = nil // net/http does not repeat a request whose body it cannot read again
	h := req.Header
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "parkd")
	h.Set("Parkd-Task-Id", park.ShownTaskID(a.TaskID))
	h.Set("Parkd-Pool", a.PoolID)
	h.Set("Parkd-Tenant", url.PathEscape(a.Tenant))
	h.Set("Parkd-Attempt", strconv.Itoa(a.Attempt))
	h.Set("Parkd-Units", strconv.FormatInt(a.Units, 10))
	h.Set("Idempotency-Key", a.PoolID+"/"+a.TaskID)
	for name, value := range e.cfg.Headers {
		h.Set(name, value)
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
		}
	}
	return req, nil
}

// failedRequest is the outcome if there was no complete reply. It does not name the address, which may hold a secret.
func failedRequest(ctx context.Context, err error) park.Outcome {
	cause := context.Cause(ctx)
	if errors.Is(cause, park.ErrTimeout) {
		return park.Failure(park.ReasonTimeout, cause.Error())
	}
	if cause != nil {
		return park.Failure(park.ReasonExecutorError, cause.Error())
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if s := dialShortage(err); s != nil {
		return park.PutOff(s)
	}
	return park.Failure(park.ReasonExecutorError, "the request failed: "+err.Error())
}

// dialShortage returns what this machine lacks to open a connection, or nil if the error has another cause. If it is not
// nil, nothing was sent.
func dialShortage(err error) *park.ShortageError {
	// The resolver keeps only the text of an error, and reports an unknown host if it cannot open its files.
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if s := shortage.Text(dns.Err); s != nil {
			return s
		}
		f, err := os.Open(os.DevNull)
		if err != nil {
			return shortage.Of(err)
		}
		_ = f.Close()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return shortage.Of(err)
	}
	return nil
}

// retryAfter returns how long the server asks to wait: it gives a number of seconds or a time.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	text := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if secs, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(secs) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

// resultOf returns a reply as JSON.
func resultOf(contentType string, body []byte) (json.RawMessage, error) {
	trimmed := bytes.TrimSpace(body)
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType = ""
	}
	switch {
	case len(trimmed) == 0:
		return nil, nil
	case isBinary(mediaType):
	case keptjson.Check(trimmed) == nil:
		return trimmed, nil
	case utf8.Valid(body):
		return json.Marshal(string(body))
	}
	mediaType = mime.FormatMediaType(mediaType, params)
	if mediaType == "" {
		mediaType = http.DetectContentType(body)
	}
	if mediaType == "text/plain; charset=utf-8" { // it is not valid UTF-8
		mediaType = "application/octet-stream"
	}
	return json.Marshal(struct {
		MediaType string `json:"mediaType"`
		Base64    []byte `json:"base64"`
	}{mediaType, body})
}

// isBinary reports whether content of a media type counts as binary even if its bytes are valid text.
func isBinary(mediaType string) bool {
	kind, _, _ := strings.Cut(mediaType, "/")
	switch kind {
	case "image":
		return mediaType != "image/svg+xml"
	case "audio", "video":
		return true
	}
	return mediaType == "application/octet-stream"
}

func excerpt(body []byte) string {
	text := bytes.ToValidUTF8(bytes.TrimSpace(body), []byte("\uFFFD"))
	if len(text) > maxExcerpt {
		return string(bytes.ToValidUTF8(text[:maxExcerpt], nil)) + "…"
	}
	return string(text)
}
