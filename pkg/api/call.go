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

// call is a request in progress.
type call struct {
	api        *API
	w          http.ResponseWriter
	r          *http.Request
	caller     caller
	svc        park.Service // as the caller may see it
	route      *route
	query      url.Values
	start      time.Time // when the request began
	headerSent bool      // it is too late for another answer
	status     int       // the status
	bodyUnread bool      // the rest of the body is still to be drained

	waited bool // the request has waited or is a stream

	budgets  *budgets
	releases []func() // release what the call has acquired from budgets
}

// guard authenticates the caller, or returns why the call is refused.
type guard func(*http.Request) (caller, error)

// serve handles a request: it authenticates the caller, calls do and answers errors.
func (a *API) serve(w http.ResponseWriter, r *http.Request, g guard, n *budgets, do func(*call) error) {
	h := w.Header()
	h["X-Content-Type-Options"], h["Cache-Control"] = a.nosniff, a.noStore
	c := &call{api: a, w: w, r: r, svc: a.cfg.Service, start: time.Now(), budgets: n}
	defer func() {
		for _, release := range c.releases {
			release()
		}
		defer c.observe()
		if p := recover(); p != nil {
			c.panicked(p)
		}
	}()
	if r.ContentLength != 0 {
		// This is needed even for a body that the handler does not read, because net/http waits for it before it answers.
		_ = http.NewResponseController(w).SetReadDeadline(c.start.Add(bodyWithin))
	}
	var err error
	if c.caller, err = g(r); err == nil {
		err = c.checkOpen()
	}
	if err == nil {
		if c.caller.tenant != "" {
			c.svc = tenantView{a.cfg.Service, c.caller.tenant}
		}
		err = do(c)
	}
	if err != nil {
		c.fail(err)
	}
	if c.bodyUnread {
		c.drainBody()
	}
}

// checkOpen refuses requests that need a service as long as there is none. The caller was authenticated before.
func (c *call) checkOpen() error {
	if c.api.cfg.Closed == nil || c.api.publicPaths[c.r.URL.Path] {
		return nil
	}
	c.bodyUnread = c.r.ContentLength != 0
	return c.api.cfg.Closed
}

// observe reports the answer, if there was one.
func (c *call) observe() {
	if c.api.cfg.Observe == nil || c.status == 0 {
		return
	}
	path, method := "", "other"
	if c.route != nil {
		path, method = c.route.path, c.route.method
	}
	c.api.cfg.Observe(path, method, c.status, time.Since(c.start), c.waited)
}

// panicked limits the effect of a panic to its request.
func (c *call) panicked(p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it in the same way
		panic(p)
	}
	c.api.cfg.Log.Error("request panicked", "method", c.r.Method, "path", c.r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if c.headerSent {
		panic(http.ErrAbortHandler)
	}
	c.fail(fmt.Errorf("panic: %v", p))
}

func (c *call) notFound() error {
	return park.Errorf(park.RouteNotFound, "no such route: %s; GET /openapi.json lists all routes", quote(c.r.URL.Path))
}

// dispatch finds the route of the method and makes the checks that all routes share.
func (c *call) dispatch(methods map[string]*route, allowed string) error {
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt, ok := methods[method]
	if !ok {
		c.w.Header().Set("Allow", allowed)
		return park.Errorf(park.MethodNotAllowed, "%s is not allowed at %s, only %s", quote(c.r.Method), quote(c.r.URL.Path), allowed)
	}
	if c.route = rt; rt.operatorOnly && c.caller.tenant != "" {
		return tenantView{tenant: c.caller.tenant}.forbidden()
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

// waitContext is closingContext for a request that waits up to this long. It returns an error if too many requests
// wait.
func (c *call) waitContext(wait time.Duration) (ctx context.Context, closing func() bool, done func(), err error) {
	if wait > 0 {
		if err := c.acquire(&c.budgets.waits); err != nil {
			return nil, nil, nil, err
		}
	}
	ctx, closing, done = c.closingContext()
	return ctx, closing, done, nil
}

// closingContext returns a context that also ends when the daemon is about to stop. closing reports whether that is
// the reason.
func (c *call) closingContext() (ctx context.Context, closing func() bool, done func()) {
	c.waited = true
	ctx, cancel := context.WithCancel(c.r.Context())
	stop := context.AfterFunc(c.api.closing, cancel)
	closing = func() bool { return c.api.closing.Err() != nil && c.r.Context().Err() == nil }
	return ctx, closing, func() {
		stop()
		cancel()
	}
}
