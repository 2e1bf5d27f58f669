package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// call is one request on its way.
type call struct {
	api   *API
	w     http.ResponseWriter
	r     *http.Request
	who   caller
	svc   park.Service // as the caller may see it
	route *route
	query url.Values
	at    time.Time // when it began
	begun bool      // too late to answer something else
	sent  int       // the status
	rest  bool      // of the body is still to come, and nobody wants it

	waited bool // for something to happen

	counters *counters
	held     []func() // gives back what was taken of them
}

// A guard says who calls, or why the call is refused.
type guard func(*http.Request) (caller, error)

// enter lets a request in, or says why not.
func (a *API) enter(w http.ResponseWriter, r *http.Request, g guard, n *counters, do func(*call) error) {
	h := w.Header()
	h["X-Content-Type-Options"], h["Cache-Control"] = a.nosniff, a.noStore
	c := &call{api: a, w: w, r: r, svc: a.cfg.Service, at: time.Now(), counters: n}
	defer func() {
		for _, release := range c.held {
			release()
		}
		defer c.observe()
		if p := recover(); p != nil {
			c.panicked(p)
		}
	}()
	if r.ContentLength != 0 {
		// Also for a body that nobody reads: net/http waits for it before it answers.
		_ = http.NewResponseController(w).SetReadDeadline(c.at.Add(bodyWithin))
	}
	var err error
	if c.who, err = g(r); err == nil {
		err = c.closed()
	}
	if err == nil {
		if c.who.tenant != "" {
			c.svc = tenantView{a.cfg.Service, c.who.tenant}
		}
		err = do(c)
	}
	if err != nil {
		c.fail(err)
	}
	if c.rest {
		c.drainBody()
	}
}

// closed refuses what a service would have to answer, where there is none yet. Who may ask at all was looked at before.
func (c *call) closed() error {
	if c.api.cfg.Closed == nil || c.api.open[c.r.URL.Path] {
		return nil
	}
	c.rest = c.r.ContentLength != 0
	return c.api.cfg.Closed
}

// observe tells of the answer, if there was one.
func (c *call) observe() {
	if c.api.cfg.Observe == nil || c.sent == 0 {
		return
	}
	path, method := "", "other"
	if c.route != nil {
		path, method = c.route.path, c.route.method
	}
	c.api.cfg.Observe(path, method, c.sent, time.Since(c.at), c.waited)
}

// panicked keeps one broken request from being more than that.
func (c *call) panicked(p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(p)
	}
	c.api.cfg.Log.Error("request panicked", "method", c.r.Method, "path", c.r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if c.begun {
		panic(http.ErrAbortHandler)
	}
	c.fail(fmt.Errorf("panic: %v", p))
}

func (c *call) notFound() error {
	return park.Errorf(park.RouteNotFound, "no such route: %s; GET /openapi.json lists all routes", short(c.r.URL.Path))
}

// dispatch finds the method's route and checks what all routes ask for.
func (c *call) dispatch(methods map[string]*route, allowed string) error {
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt, ok := methods[method]
	if !ok {
		c.w.Header().Set("Allow", allowed)
		return park.Errorf(park.MethodNotAllowed, "%s is not allowed at %s, only %s", short(c.r.Method), short(c.r.URL.Path), allowed)
	}
	if c.route = rt; rt.operator && c.who.tenant != "" {
		return tenantView{tenant: c.who.tenant}.closed()
	}
	if err := c.readQuery(); err != nil {
		return err
	}
	return rt.handle(c)
}

func allow(methods map[string]*route) string {
	names := slices.Sorted(maps.Keys(methods))
	if _, ok := methods[http.MethodGet]; ok {
		names = append(names, http.MethodHead)
	}
	return strings.Join(names, ", ")
}

// patient is ending for a request that waits for so long; err where too many do.
func (c *call) patient(wait time.Duration) (ctx context.Context, over func() bool, done func(), err error) {
	if wait > 0 {
		if err := c.hold(&c.counters.waits); err != nil {
			return nil, nil, nil, err
		}
	}
	ctx, over, done = c.ending()
	return ctx, over, done, nil
}

// ending returns a context that also ends when the daemon is about to go, and whether that is why it ended.
func (c *call) ending() (ctx context.Context, over func() bool, done func()) {
	c.waited = true
	ctx, cancel := context.WithCancel(c.r.Context())
	stop := context.AfterFunc(c.api.closing, cancel)
	over = func() bool { return c.api.closing.Err() != nil && c.r.Context().Err() == nil }
	return ctx, over, func() {
		stop()
		cancel()
	}
}
