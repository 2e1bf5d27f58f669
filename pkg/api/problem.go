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
	RetryAfterSecs int64     `json:"retryAfterSecs,omitempty"` // like the header Retry-After, which a batch has only once
	TaskID         string    `json:"taskId,omitempty"`         // for outcome_unknown: read this task, or submit the same again with this id
}

func problemOf(e *park.Error) problem {
	p := problem{
		Type: "urn:parkd:problem:" + string(e.Code), Title: e.Code.Title(), Status: e.Code.HTTPStatus(), Detail: e.Detail, Code: e.Code,
		TaskID: e.TaskID,
	}
	if e.RetryAfter > 0 {
		// Rounded up, because a client that retries too early must retry again.
		p.RetryAfterSecs = int64((e.RetryAfter + time.Second - 1) / time.Second)
	}
	return p
}

// fail answers with an error.
func (c *call) fail(err error) {
	if isContextEnd(c.r.Context(), err) {
		// The client is gone or the daemon stops. An answer would claim to know the outcome of the request.
		panic(http.ErrAbortHandler)
	}
	e, ok := errors.AsType[*park.Error](err)
	if !ok {
		e = c.internal(err)
	}
	p := problemOf(e)
	h := c.w.Header()
	if p.RetryAfterSecs > 0 {
		h.Set("Retry-After", strconv.FormatInt(p.RetryAfterSecs, 10))
	}
	if e.Code == park.Unauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="parkd"`)
	}
	c.write(p.Status, "application/problem+json", p)
}

// internal logs an error that callers cannot act on, and returns one with an id by which an operator finds it in the
// log.
func (c *call) internal(err error) *park.Error {
	id := uuid.NewString()
	c.api.cfg.Log.Error("request failed", "id", id, "method", c.r.Method, "path", c.r.URL.Path, "error", err)
	return park.Errorf(park.Internal, "see the daemon's log for the error with the id %s", id)
}

// ok answers with JSON.
func (c *call) ok(v any) error {
	c.write(http.StatusOK, "application/json", v)
	return nil
}

// write encodes v before it sends anything, so that the length is known and an encoding error can still be answered.
func (c *call) write(status int, kind string, v any) {
	buf := c.api.buffer()
	defer c.api.release(buf)
	if err := encode(buf, v); err != nil {
		c.api.cfg.Log.Error("answer not encoded", "path", c.r.URL.Path, "error", err)
		buf.Reset()
		status, kind = http.StatusInternalServerError, "application/problem+json"
		_ = encode(buf, problemOf(park.Errorf(park.Internal, "the answer could not be encoded")))
	}
	h := c.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(buf.Len()))
	c.writeHeader(status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(buf.Bytes())
	}
}

// encode writes v without escaping HTML, because an answer is never part of a web page.
func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeHeader sends the status. After that it is too late for another answer.
func (c *call) writeHeader(status int) {
	c.headerSent, c.status = true, status
	if c.waited || time.Since(c.start) > freshFor {
		c.limitWrite()
	}
	c.w.WriteHeader(status)
}

// freshFor is how long the write deadline that the server sets after the headers is still long enough, for a request
// that did not wait. Setting it again costs a microsecond.
const freshFor = time.Second

// limitWrite bounds the time of the next write, in case the client does not read.
func (c *call) limitWrite() {
	// A handler in a test may have no connection.
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(writeWithin))
}

// isContextEnd reports whether err only says that ctx has ended.
func isContextEnd(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, ctx.Err())
}
