package api

import (
	"net/http"

	"github.com/parkd-dev/parkd/pkg/park"
)

// health is what a daemon says of itself.
type health struct {
	Status  string `json:"status"` // ok, or unavailable
	Version string `json:"version,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

func (c *call) health() error { return c.condition(c.api.cfg.Ready()) }
func (c *call) live() error   { return c.condition(nil) }
func (c *call) ready() error  { return c.condition(c.api.cfg.Ready()) }

func (c *call) condition(trouble error) error {
	h := health{Status: "ok", Version: c.api.cfg.Version}
	if trouble == nil {
		return c.ok(http.StatusOK, h)
	}
	h.Status, h.Reason = "unavailable", trouble.Error()
	return c.ok(http.StatusServiceUnavailable, h)
}

func (c *call) metrics() error {
	if c.api.cfg.Metrics == nil {
		return park.Errorf(park.RouteNotFound, "this daemon measures nothing")
	}
	c.limitWrite()
	c.api.cfg.Metrics.ServeHTTP(c.w, c.r)
	return nil
}

func (c *call) document() error {
	c.w.Header().Set("Content-Type", "application/json")
	c.limitWrite()
	_, _ = c.w.Write(c.api.openapi)
	return nil
}
