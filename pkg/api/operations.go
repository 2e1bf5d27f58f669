package api

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/parkd-dev/parkd/pkg/park"
)

// health is a daemon's description of its own state. [Config.Health] may add to it.
type health struct {
	Status  string      `json:"status"` // ok
	Version string      `json:"version,omitempty"`
	Pools   []readiness `json:"pools,omitempty"` // for GET /readyz
}

// readiness says whether a pool accepts work.
type readiness struct {
	PoolID string `json:"poolId"`
	Ready  bool   `json:"ready"`
	Detail string `json:"detail,omitempty"` // why not; hidden from tenants because it names servers
}

func (c *call) live() error {
	if c.caller.anonymous {
		return c.plainText(http.StatusOK, "ok")
	}
	return c.ok(health{Status: "ok", Version: c.api.cfg.Version})
}

func (c *call) ready() error {
	err := c.trouble()
	switch {
	case err == nil && c.caller.anonymous:
		return c.plainText(http.StatusOK, "ok")
	case err == nil:
		return c.ok(health{Status: "ok", Version: c.api.cfg.Version, Pools: c.readiness()})
	case c.caller.anonymous:
		return c.plainText(http.StatusServiceUnavailable, "not ready")
	}
	return err
}

func (c *call) readiness() (all []readiness) {
	if c.api.cfg.Pools == nil {
		return nil
	}
	pools := c.api.cfg.Pools()
	for _, id := range slices.Sorted(maps.Keys(pools)) {
		r := readiness{PoolID: id, Ready: pools[id] == nil}
		if !r.Ready && c.caller.tenant == "" {
			r.Detail = pools[id].Error()
		}
		all = append(all, r)
	}
	return all
}

// plainText answers who has not shown who it is, and is told no more.
func (c *call) plainText(status int, text string) error {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.writeHeader(status)
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
		return park.Errorf(park.RouteNotFound, "this daemon has no metrics")
	}
	c.headerSent, c.status = true, http.StatusOK
	c.limitWrite()
	c.api.cfg.Metrics.ServeHTTP(c.w, c.r)
	return nil
}

func (c *call) document() error {
	c.w.Header().Set("Content-Type", "application/json")
	c.writeHeader(http.StatusOK)
	_, _ = c.w.Write(c.api.openapi)
	return nil
}
