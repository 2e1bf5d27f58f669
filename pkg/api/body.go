package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Limits bounds the size of a request, in bytes. Zero fields have the defaults.
type Limits struct {
	MaxBody   int64 // a request with at most one task; default 1 MiB
	MaxResult int64 // the result of a lease; default 4 MiB
	MaxBatch  int64 // a batch, in which MaxBody applies to each task; default 64 MiB
}

func (l Limits) orDefault() Limits {
	set := func(n *int64, value int64) {
		if *n == 0 {
			*n = value
		}
	}
	set(&l.MaxBody, 1<<20)
	set(&l.MaxResult, 4<<20)
	set(&l.MaxBatch, 64<<20)
	return l
}

// maxPooled is up to which size a buffer is reused.
const maxPooled = 256 << 10

func (a *API) buffer() *bytes.Buffer { return a.buffers.Get().(*bytes.Buffer) }

func (a *API) release(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		a.buffers.Put(b)
	}
}

// decode reads the request's body into v, a pointer to the route's body type. Without a body, v stays as it is.
func (c *call) decode(v any) error {
	buf := c.api.buffer()
	defer c.api.release(buf)
	return c.decodeIn(buf, v)
}

// decodeIn is decode with the caller's buffer, for a v that refers to the buffer.
func (c *call) decodeIn(buf *bytes.Buffer, v any) error {
	if c.r.Body == nil || c.r.Body == http.NoBody || c.r.ContentLength == 0 {
		return nil
	}
	if given := c.r.Header["Content-Type"]; len(given) != 1 || given[0] != "application/json" {
		all := strings.Join(given, ", ")
		if kind, _, err := mime.ParseMediaType(all); err != nil || len(given) != 1 || kind != "application/json" {
			return park.Errorf(park.UnsupportedMediaType, "the body must be sent as Content-Type: application/json, not %q", quote(all))
		}
	}
	if c.r.ContentLength > c.route.maxBody {
		return c.tooLarge(c.route.maxBody)
	}
	if err := c.acquireBody(); err != nil {
		return err
	}
	if err := c.readBody(buf); err != nil {
		return err
	}
	if buf.Len() == 0 { // a body of unknown length may be empty
		return nil
	}
	if bad := c.api.fields.read(buf.Bytes(), v, ""); bad != nil {
		return bad
	}
	return nil
}

func (c *call) readBody(buf *bytes.Buffer) error {
	most := c.route.maxBody
	if n := c.r.ContentLength; n > 0 && n < maxPooled {
		buf.Grow(int(n) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(c.w, c.r.Body, most))
	if err == nil {
		// The deadline stays after an error, because net/http waits for the rest of a body before it answers.
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return c.tooLarge(most)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return park.Errorf(park.InvalidRequest, "the body did not arrive within %s", bodyWithin)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return park.Errorf(park.InvalidRequest, "the body is shorter than its Content-Length")
	case err != nil:
		return park.Errorf(park.InvalidRequest, "the body cannot be read: %v", err)
	}
	return nil
}

func (c *call) tooLarge(most int64) error {
	return c.refuseBody(park.Errorf(park.PayloadTooLarge, "the body must not be larger than %d bytes", most))
}

// refuseBody refuses a body without waiting for the rest of it; see [call.drainBody].
func (c *call) refuseBody(why error) error {
	c.w.Header().Set("Connection", "close")
	_ = http.NewResponseController(c.w).EnableFullDuplex()
	c.bodyUnread = true
	return why
}

// Limits of reading the rest of a refused body.
const (
	drainTimeout  = 5 * time.Second
	maxDrainBytes = 256 << 20
)

// drainBody reads the rest of a refused body. Many clients read an answer only after they have sent everything. If the
// connection were closed earlier, they would not see the reason.
func (c *call) drainBody() {
	conn := http.NewResponseController(c.w)
	if c.r.Header.Get("Expect") != "" || c.r.ProtoMajor != 1 || conn.Flush() != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(drainTimeout))
	_, _ = io.CopyN(io.Discard, c.r.Body, maxDrainBytes)
}

// batch is the body of a batch. Its tasks are decoded one by one, because each has an answer of its own.
type batch struct {
	Tasks []jsontext.Value `json:"tasks"`
}
