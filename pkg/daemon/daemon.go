// Package daemon assembles the parts of parkd and runs them: configuration, stores, executors, engine, API, listeners.
//
// The Go package is no API: it may change with any release.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/engine"
)

// Options are the settings of a daemon that are not in its configuration.
type Options struct {
	Log     *slog.Logger // default: none
	Version string
	// Ready is called once the daemon listens and all its parts are open.
	Ready func(Addresses)
	// SkipDrain, once closed, ends the drain: runs are stopped and their tasks requeued.
	SkipDrain <-chan struct{}
}

// Addresses are where a daemon can be reached.
type Addresses struct {
	URL    string // "" if it listens only on its socket
	Socket string // "" if there is none
}

// orphanTimeout bounds how long a start waits for commands of an earlier, killed daemon. Its shims need two seconds.
const orphanTimeout = 5 * time.Second

// Run runs a daemon until ctx ends. Then it starts nothing more, waits for running tasks up to the configured drain
// timeout, requeues the rest and returns nil. It also returns nil if ctx ends before all parts are open. An error says
// why it could not start or had to stop.
func Run(ctx context.Context, c *config.Config, o Options) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return run(ctx, c, o, openParts)
}

func run(ctx context.Context, c *config.Config, o Options, open func(context.Context, *config.Config, *slog.Logger) (*parts, error)) (err error) {
	if err := Check(c); err != nil {
		return err
	}
	// This context outlives ctx, so that requests are served during the drain.
	serveCtx, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer paceCollector()()

	// The port and the socket come first: a daemon that cannot be reached must not run anything.
	l, err := listen(ctx, c)
	if err != nil {
		return err
	}
	defer l.close()
	s, err := newServer(c, o, l)
	if err != nil {
		return err
	}
	s.serve(serveCtx)
	defer s.shutdown(serveCtx)
	warnUnused(c, o.Log)
	p, err := open(ctx, c, o.Log)
	if err != nil {
		return openError(ctx, err, o.Log)
	}
	// Requests in progress end before the stores that they read from are closed.
	defer func() { err = errors.Join(err, p.close()) }()
	defer s.shutdown(serveCtx)
	if err := s.attach(p); err != nil {
		return errors.Join(err, p.engine.Close(cancelledContext()))
	}
	announce(c, o, l, p)

	select {
	case <-ctx.Done():
		o.Log.Info("stopping: nothing more is started", "drain_timeout", c.DrainTimeout.String())
	case err = <-s.failed:
		o.Log.Error("stopping: cannot be reached any more", "error", err)
	}
	notifySystemd(o.Log, "STOPPING=1")
	s.draining.Store(true)
	err = errors.Join(err, drain(serveCtx, p.engine, c.DrainTimeout, o.SkipDrain))
	s.shutdown(serveCtx)
	o.Log.Info("stopped")
	return err
}

// openError returns why the parts of a daemon could not be opened; nil if ctx ended meanwhile.
func openError(ctx context.Context, err error, log *slog.Logger) error {
	if ctx.Err() == nil {
		return err
	}
	log.Info("stopped before all was open", "error", err)
	return nil
}

// announce tells that the daemon is ready, and its addresses.
func announce(c *config.Config, o Options, l *listeners, p *parts) {
	if err := writeNote(c, l); err != nil {
		o.Log.Warn("the command line may not find this daemon by itself", "error", err)
	}
	o.Log.Info("listening", "url", l.url(), "socket", l.socket, "config", c.Source, "pools", len(c.Pools), "node", p.engine.Node(), "version", o.Version)
	notifySystemd(o.Log, "READY=1")
	if o.Ready != nil {
		o.Ready(Addresses{URL: l.url(), Socket: l.socket})
	}
}

// nodeGrace is how long other nodes wait until a silent node must have stopped its runs: the longest kill grace and a
// margin.
func nodeGrace(c *config.Config) time.Duration {
	var longest time.Duration
	for _, p := range c.Pools {
		longest = max(longest, p.Executor.KillGrace)
	}
	return longest + graceMargin
}

const graceMargin = 2 * time.Second

// drain closes the engine, at once when skip is closed.
func drain(ctx context.Context, eng *engine.Engine, timeout time.Duration, skip <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	go func() {
		select {
		case <-skip:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := eng.Close(ctx); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// cancelledContext returns a context that has ended.
func cancelledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
