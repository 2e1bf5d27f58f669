package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/park"
)

// maxWait bounds how long a request may wait. A longer wait is shortened to it.
const maxWait = 10 * time.Minute

// readQuery parses the query. It refuses parameters that the route does not have, that are given twice, or that are
// not text, and names them.
func (c *call) readQuery() error {
	if c.r.URL.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return park.Errorf(park.InvalidRequest, "cannot parse the query: %v", err)
	}
	known := "this request has no parameters"
	if len(c.route.query) > 0 {
		known = "known parameters: " + strings.Join(c.route.query, ", ")
	}
	var faults []string
	for name, values := range q {
		switch {
		case !slices.Contains(c.route.query, name):
			faults = append(faults, "unknown parameter "+strconv.Quote(quote(name))+"; "+known)
		case len(values) > 1:
			faults = append(faults, name+" is given "+strconv.Itoa(len(values))+" times")
		case !isPlainText(values[0]):
			faults = append(faults, name+" contains control characters or invalid UTF-8")
		}
	}
	if len(faults) > 0 {
		slices.Sort(faults)
		return park.Errorf(park.InvalidRequest, "%s", strings.Join(faults[:min(len(faults), maxFaults)], "; "))
	}
	c.query = q
	return nil
}

// isPlainText reports whether s is text that every store can search for.
func isPlainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// queryParams parses parameters and collects all faults.
type queryParams struct {
	url.Values
	faults []string
}

func (c *call) queryParams() *queryParams { return &queryParams{Values: c.query} }

func (q *queryParams) err() error {
	if len(q.faults) == 0 {
		return nil
	}
	return park.Errorf(park.InvalidRequest, "%s", strings.Join(q.faults, "; "))
}

func (q *queryParams) time(name string) park.Time { return parseParam(q, name, parseTime) }

// parseTime also accepts a plus sign that was not escaped: in a query it stands for a space, and no time has a space.
func parseTime(s string) (park.Time, error) {
	return park.ParseTime(strings.ReplaceAll(s, " ", "+"))
}

func (q *queryParams) wait() time.Duration {
	return min(time.Duration(parseParam(q, "wait", park.ParseDuration)), maxWait)
}

func (q *queryParams) limit() int { return int(q.number("limit", 1)) }

// number parses a whole number of at least least.
func (q *queryParams) number(name string, least int64) int64 {
	return parseParam(q, name, func(s string) (int64, error) {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < least {
			return 0, park.Errorf(park.InvalidRequest, "must be a whole number of at least %d, not %q", least, quote(s))
		}
		return n, nil
	})
}

func (q *queryParams) boolean(name string) bool {
	return parseParam(q, name, func(s string) (bool, error) {
		if s != "true" && s != "false" {
			return false, park.Errorf(park.InvalidRequest, "must be true or false, not %q", quote(s))
		}
		return s == "true", nil
	})
}

// parseParam parses a parameter. An empty parameter counts as left out.
func parseParam[T any](q *queryParams, name string, parse func(string) (T, error)) T {
	var none T
	text := q.Get(name)
	if text == "" {
		return none
	}
	v, err := parse(text)
	if err != nil {
		q.faults = append(q.faults, name+" "+strings.TrimPrefix(err.Error(), name+" "))
		return none
	}
	return v
}
