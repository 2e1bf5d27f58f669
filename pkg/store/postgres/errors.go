package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parkd-dev/parkd/pkg/store"
)

// rewordedError is an error with another text.
type rewordedError struct {
	error
	text string
}

func (e *rewordedError) Error() string { return e.text }
func (e *rewordedError) Unwrap() error { return e.error }

// serverRefusal is an error with the server's reason.
type serverRefusal struct {
	error
	reason string
}

var _ store.ServerError = (*serverRefusal)(nil)

func (e *serverRefusal) Unwrap() error { return e.error }

// ServerMessage implements [store.ServerError].
func (e *serverRefusal) ServerMessage() string { return e.reason }

// reword returns err with a text for operators, in one line that names each host once. If the server refused a
// connection, the result is a [store.ServerError]. The server's text about a statement is not passed on, because it may
// have stored data in it.
func reword(err error) error {
	if err == nil {
		return nil
	}
	c, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return err
	}
	if _, done := errors.AsType[*rewordedError](err); done {
		return err // several calls waited for the same check
	}
	if full := c.Error(); strings.Contains(err.Error(), full) {
		err = &rewordedError{err, strings.Replace(err.Error(), full, mergeHosts(full), 1)}
	}
	if pg, ok := errors.AsType[*pgconn.PgError](c); ok {
		err = &serverRefusal{err, pg.Message}
	}
	return err
}

// mergeHosts merges the lines of a connection error, each of which is about one attempt. A host is tried with TLS and
// without.
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
