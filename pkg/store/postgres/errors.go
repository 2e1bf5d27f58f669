package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parkd-dev/parkd/pkg/store"
)

// told is an error with a text of its own.
type rewordedError struct {
	error
	text string
}

func (e *rewordedError) Error() string { return e.text }
func (e *rewordedError) Unwrap() error { return e.error }

// turnedDown is an error for which the server has given a reason.
type serverRefusal struct {
	error
	reason string
}

var _ store.ServerError = (*serverRefusal)(nil)

func (e *serverRefusal) Unwrap() error { return e.error }

// ServerMessage implements [store.ServerError].
func (e *serverRefusal) ServerMessage() string { return e.reason }

// plain returns err as operators read it: in one line that names each host once, and as a [store.ServerError] where the server
// turned a connection down. What it says of statements may repeat what was stored, and is not passed on.
func reword(err error) error {
	if err == nil {
		return nil
	}
	c, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return err
	}
	if _, done := errors.AsType[*rewordedError](err); done {
		return err // a failure that several have waited for
	}
	if full := c.Error(); strings.Contains(err.Error(), full) {
		err = &rewordedError{err, strings.Replace(err.Error(), full, mergeHosts(full), 1)}
	}
	if pg, ok := errors.AsType[*pgconn.PgError](c); ok {
		err = &serverRefusal{err, pg.Message}
	}
	return err
}

// oncePerHost takes the lines of a failure to connect together, of which each tells of one try: a host is tried with TLS
// and without.
func mergeHosts(text string) string {
	first, rest, _ := strings.Cut(text, ":")
	var hosts []string
	reasons := make(map[string][]string)
	for line := range strings.Lines(rest) {
		host, reason, ok := strings.Cut(strings.TrimSpace(line), "): ")
		if !ok {
			host, reason = strings.TrimSpace(line), ""
		}
		if host == "" {
			continue
		}
		if reasons[host] == nil {
			hosts = append(hosts, host)
		}
		if !slices.Contains(reasons[host], reason) {
			reasons[host] = append(reasons[host], reason)
		}
	}
	for i, host := range hosts {
		if reason := strings.Join(reasons[host], ", "); reason != "" {
			hosts[i] += "): " + reason
		}
	}
	return first + ": " + strings.Join(hosts, "; ")
}
