package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parkd-dev/parkd/pkg/store"
)

// told is an error with a text of its own.
type told struct {
	error
	text string
}

func (e *told) Error() string { return e.text }
func (e *told) Unwrap() error { return e.error }

// turnedDown is an error for which the server has given a reason.
type turnedDown struct {
	error
	words string
}

var _ store.ServerError = (*turnedDown)(nil)

func (e *turnedDown) Unwrap() error { return e.error }

// ServerMessage implements [store.ServerError].
func (e *turnedDown) ServerMessage() string { return e.words }

// plain returns err as operators read it: in one line that names each host once, and as a [store.ServerError] where the server
// turned a connection down. What it says of statements may repeat what was stored, and is not passed on.
func plain(err error) error {
	if err == nil {
		return nil
	}
	c, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return err
	}
	if _, done := errors.AsType[*told](err); done {
		return err // a failure that several have waited for
	}
	if long := c.Error(); strings.Contains(err.Error(), long) {
		err = &told{err, strings.Replace(err.Error(), long, oncePerHost(long), 1)}
	}
	if pg, ok := errors.AsType[*pgconn.PgError](c); ok {
		err = &turnedDown{err, pg.Message}
	}
	return err
}

// oncePerHost takes the lines of a failure to connect together, of which each tells of one try: a host is tried with TLS
// and without.
func oncePerHost(text string) string {
	first, rest, _ := strings.Cut(text, ":")
	var hosts []string
	said := make(map[string][]string)
	for line := range strings.Lines(rest) {
		host, what, ok := strings.Cut(strings.TrimSpace(line), "): ")
		if !ok {
			host, what = strings.TrimSpace(line), ""
		}
		if host == "" {
			continue
		}
		if said[host] == nil {
			hosts = append(hosts, host)
		}
		if !slices.Contains(said[host], what) {
			said[host] = append(said[host], what)
		}
	}
	for i, host := range hosts {
		if what := strings.Join(said[host], ", "); what != "" {
			hosts[i] += "): " + what
		}
	}
	return first + ": " + strings.Join(hosts, "; ")
}
