package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	// maxSilence is how long a stream may be silent: a daemon sends a sign of life far more often.
	maxSilence = time.Minute
	maxLine    = 16 << 20
)

// Watch implements [park.AuditService]. When the stream breaks it yields the error and, unless the caller
// stops, connects again where it was: no event is left out and none comes twice. An error that the daemon
// itself answers ends it.
func (c *Client) Watch(ctx context.Context, q park.AuditQuery) iter.Seq2[park.Event, error] {
	return func(yield func(park.Event, error) bool) {
		s := stream{client: c, query: q, yield: yield}
		pause := backoff.NewExponentialBackOff()
		pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 3*time.Second
		for {
			fed, err := s.read(ctx)
			if s.stopped {
				return
			}
			if ctx.Err() != nil {
				yield(park.Event{}, ctx.Err())
				return
			}
			if !yield(park.Event{}, err) || !errors.Is(err, ErrUnreachable) && !park.Passing(err) {
				return
			}
			if fed {
				pause.Reset()
			}
			if !sleep(ctx, pause.NextBackOff()) {
				yield(park.Event{}, ctx.Err())
				return
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stream is a watch over all its connections.
type stream struct {
	client    *Client
	query     park.AuditQuery // its cursor advances with each event
	startTime park.Time       // where the stream begins as long as there is no cursor
	yield     func(park.Event, error) bool
	stopped   bool // by the caller
}

// read yields the events of one connection and reports whether there were any. It ends only with an error or when the
// caller stops it.
func (s *stream) read(ctx context.Context) (fed bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := s.client.send(ctx, s.request())
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	s.noteStart(resp)
	quiet := time.AfterFunc(maxSilence, func() { cancel(errors.New("no heartbeat from the daemon")) })
	defer quiet.Stop()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	place := "" // the daemon's position in the log
	for lines.Scan() {
		quiet.Reset(maxSilence)
		if id, ok := bytes.CutPrefix(lines.Bytes(), []byte("id:")); ok {
			place = string(bytes.TrimSpace(id))
		}
		if len(lines.Bytes()) == 0 && place != "" {
			// The position advances even without an event: up to there the query selects none.
			s.query.Cursor = place
		}
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue
		}
		fed, place = true, ""
		if err := s.event(data); err != nil || s.stopped {
			return fed, err
		}
	}
	return fed, s.isBroken(ctx, lines.Err())
}

func (s *stream) isBroken(ctx context.Context, err error) error {
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%w: the stream of events broke off: %w", ErrUnreachable, err)
}

func (s *stream) request() request {
	r := request{method: http.MethodGet, path: "/events", query: filters(s.query), unbounded: true, header: http.Header{}}
	since := s.query.Since
	if since.IsZero() && s.query.Cursor == "" {
		since = s.startTime
	}
	setTime(r.query, "since", since)
	setTime(r.query, "until", s.query.Until)
	if s.query.Cursor != "" {
		r.header.Set("Last-Event-Id", s.query.Cursor)
	}
	return r
}

// noteStart records when a watch began that has neither a cursor nor a start time. A daemon that may not name the last
// event before that sends at least the time.
func (s *stream) noteStart(resp *http.Response) {
	if !s.startTime.IsZero() {
		return
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		s.startTime = park.At(at)
	}
}

func (s *stream) event(data []byte) error {
	var e park.Event
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("the daemon sent an event that cannot be read: %w", err)
	}
	e.Ord = ordOf(e.EventID)
	s.query.Cursor, s.query.Since = e.EventID, park.Time{}
	s.stopped = !s.yield(e, nil)
	return nil
}
