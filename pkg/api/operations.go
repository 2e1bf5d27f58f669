package api

import (
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/parkd-dev/parkd/pkg/park"
)

// health is what a daemon says of itself. [Config.Health] may add to it.
type health struct {
	Status  string `json:"status"` // ok
	Version string `json:"version,omitempty"`
}

func (c *call) live() error {
	if c.who.anybody {
		return c.word(http.StatusOK, "ok")
	}
	return c.ok(health{"ok", c.api.cfg.Version})
}

func (c *call) ready() error {
	err := c.trouble()
	switch {
	case err == nil:
		return c.live()
	case c.who.anybody:
		return c.word(http.StatusServiceUnavailable, "not ready")
	}
	return err
}

// word answers who has not shown who it is, and is told no more.
func (c *call) word(status int, text string) error {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.begin(status)
	if c.r.Method != http.MethodHead {
		_, _ = io.WriteString(c.w, text+"\n")
	}
	return nil
}

func (c *call) health() error {
	if err := c.trouble(); err != nil {
		return err
	}
	facts := map[string]any{}
	maps.Copy(facts, c.api.cfg.Health())
	facts["status"] = "ok"
	if v := c.api.cfg.Version; v != "" {
		facts["version"] = v
	}
	return c.ok(facts)
}

// trouble returns why the daemon takes no work, as what whoever brought some would be told.
func (c *call) trouble() error {
	err := c.api.cfg.Ready()
	if err == nil {
		return nil
	}
	e := park.Errorf(park.StorageUnavailable, "%v", err)
	if known, ok := errors.AsType[*park.Error](err); ok && known.Code.HTTPStatus() == http.StatusServiceUnavailable {
		e.Code, e.RetryAfter = known.Code, known.RetryAfter
	}
	return e
}

func (c *call) metrics() error {
	if c.api.cfg.Metrics == nil {
		return park.Errorf(park.RouteNotFound, "this daemon measures nothing")
	}
	c.begun = true
	c.limitWrite()
	c.api.cfg.Metrics.ServeHTTP(c.w, c.r)
	return nil
}

func (c *call) document() error {
	c.w.Header().Set("Content-Type", "application/json")
	c.begin(http.StatusOK)
	_, _ = c.w.Write(c.api.openapi)
	return nil
}
