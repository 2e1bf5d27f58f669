package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The most that a body may hold.
const (
	maxBody  = 4 << 20
	maxBatch = 64 << 20
	// maxPooled is how large a buffer may have grown and still be kept.
	maxPooled = 256 << 10
)

func (a *API) buffer() *bytes.Buffer { return a.buffers.Get().(*bytes.Buffer) }

func (a *API) release(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		a.buffers.Put(b)
	}
}

// decode reads the request's body into v, which is not kept in touch with the buffer it is read from. No body
// leaves v as it is.
func (c *call) decode(v any, most int64) error {
	if c.r.Body == nil || c.r.Body == http.NoBody || c.r.ContentLength == 0 {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return park.Errorf(park.UnsupportedMediaType, "the body must be sent as Content-Type: application/json, not %q", c.r.Header.Get("Content-Type"))
	}
	buf := c.api.buffer()
	defer c.api.release(buf)
	if err := c.readBody(buf, most); err != nil {
		return err
	}
	return decode(buf.Bytes(), v, "")
}

func (c *call) readBody(buf *bytes.Buffer, most int64) error {
	if c.r.ContentLength > most {
		c.w.Header().Set("Connection", "close")
		return tooLarge(most)
	}
	conn := http.NewResponseController(c.w)
	_ = conn.SetReadDeadline(time.Now().Add(bodyWithin))
	_, err := buf.ReadFrom(http.MaxBytesReader(c.w, c.r.Body, most))
	_ = conn.SetReadDeadline(time.Time{})
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(most)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return park.Errorf(park.InvalidRequest, "the body did not arrive within %s", bodyWithin)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return park.Errorf(park.InvalidRequest, "the body ends before its Content-Length")
	case err != nil:
		return park.Errorf(park.InvalidRequest, "the body cannot be read: %v", err)
	}
	return nil
}

func tooLarge(most int64) error {
	return park.Errorf(park.PayloadTooLarge, "the body may have %d bytes at most", most)
}

// batch is the body of a batch. Its tasks are decoded one by one, for each is answered for itself.
type batch struct {
	Tasks []json.RawMessage `json:"tasks"`
}
