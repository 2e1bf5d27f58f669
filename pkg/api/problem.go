package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/parkd-dev/parkd/pkg/park"
)

// problem is an error on the wire (RFC 9457).
type problem struct {
	Type           string    `json:"type"`
	Title          string    `json:"title"`
	Status         int       `json:"status"`
	Detail         string    `json:"detail,omitempty"`
	Code           park.Code `json:"code"`
	RetryAfterSecs int64     `json:"retryAfterSecs,omitempty"` // the header of a batch's single answer
}

func problemOf(e *park.Error) problem {
	p := problem{
		Type: "urn:parkd:problem:" + string(e.Code), Title: e.Code.Title(), Status: e.Code.HTTPStatus(), Detail: e.Detail, Code: e.Code,
	}
	if e.RetryAfter > 0 {
		// Rounded up: a client that comes a little late comes once.
		p.RetryAfterSecs = int64((e.RetryAfter + time.Second - 1) / time.Second)
	}
	return p
}

// fail answers with an error.
func (c *call) fail(err error) {
	if c.r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return // nobody listens
	}
	e, ok := errors.AsType[*park.Error](err)
	if !ok {
		e = c.internal(err)
	}
	p := problemOf(e)
	h := c.w.Header()
	h.Set("Content-Type", "application/problem+json")
	if p.RetryAfterSecs > 0 {
		h.Set("Retry-After", strconv.FormatInt(p.RetryAfterSecs, 10))
	}
	if e.Code == park.Unauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="parkd"`)
	}
	c.write(p.Status, p)
}

// internal keeps to itself what callers cannot act on, under an id by which an operator finds it.
func (c *call) internal(err error) *park.Error {
	id := uuid.NewString()
	c.api.cfg.Log.Error("request failed", "id", id, "method", c.r.Method, "path", c.r.URL.Path, "error", err)
	return park.Errorf(park.Internal, "the daemon's log has more under %s", id)
}

// ok answers with JSON.
func (c *call) ok(status int, v any) error {
	c.w.Header().Set("Content-Type", "application/json")
	c.write(status, v)
	return nil
}

// write encodes v before it sends anything, so that the length is known and a fault can still be told.
func (c *call) write(status int, v any) {
	buf := c.api.buffer()
	defer c.api.release(buf)
	if err := json.NewEncoder(buf).Encode(v); err != nil {
		c.api.cfg.Log.Error("answer not encoded", "path", c.r.URL.Path, "error", err)
		status = http.StatusInternalServerError
		buf.Reset()
		_ = json.NewEncoder(buf).Encode(problemOf(park.Errorf(park.Internal, "the answer could not be encoded")))
	}
	c.w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	c.limitWrite()
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		_, _ = io.Copy(c.w, buf)
	}
}

// limitWrite bounds the time of what is written next, for a reader that does not read.
func (c *call) limitWrite() {
	// A handler under test may have no connection.
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(writeWithin))
}
