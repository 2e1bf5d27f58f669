package api

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// maxWait bounds what a request may ask the daemon to wait.
const maxWait = 10 * time.Minute

// checkQuery refuses parameters that a route does not have, or that are given twice.
func (c *call) checkQuery(rt route) error {
	if c.r.URL.RawQuery == "" {
		return nil
	}
	for name, values := range c.r.URL.Query() {
		switch {
		case !slices.Contains(rt.query, name) && len(rt.query) == 0:
			return park.Errorf(park.InvalidRequest, "%s is not a parameter of this request; it has none", name)
		case !slices.Contains(rt.query, name):
			return park.Errorf(park.InvalidRequest, "%s is not a parameter of this request; there are %s", name, strings.Join(rt.query, ", "))
		case len(values) > 1:
			return park.Errorf(park.InvalidRequest, "%s is given %d times", name, len(values))
		}
	}
	return nil
}

// query reads parameters and keeps the first fault.
type query struct {
	values map[string][]string
	err    error
}

func (c *call) query() *query {
	if c.r.URL.RawQuery == "" {
		return &query{}
	}
	return &query{values: c.r.URL.Query()}
}

func (q *query) text(name string) string {
	if v := q.values[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (q *query) fault(name string, err error) {
	if err != nil && q.err == nil {
		q.err = park.Errorf(park.InvalidRequest, "%s %s", name, strings.TrimPrefix(err.Error(), name+" "))
	}
}

func (q *query) time(name string) park.Time {
	text := q.text(name)
	if text == "" {
		return park.Time{}
	}
	at, err := park.ParseTime(text)
	q.fault(name, err)
	return at
}

func (q *query) wait() time.Duration {
	text := q.text("wait")
	if text == "" {
		return 0
	}
	d, err := park.ParseDuration(text)
	q.fault("wait", err)
	return min(time.Duration(d), maxWait)
}

// maxLimit is how much one page holds at most.
const maxLimit = 1000

func (q *query) limit() int {
	text := q.text("limit")
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		if q.err == nil {
			q.err = park.Errorf(park.InvalidRequest, "limit must be a whole number from 1 to %d, not %q", maxLimit, text)
		}
	}
	return n
}

func parsed[T any](q *query, name string, parse func(string) (T, error)) T {
	var v T
	if text := q.text(name); text != "" {
		var err error
		v, err = parse(text)
		q.fault(name, err)
	}
	return v
}
