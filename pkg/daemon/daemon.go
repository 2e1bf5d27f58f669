// Package daemon puts the parts of parkd together and runs them: configuration, stores, executors, engine,
// API, listeners.
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

// Options is what a daemon needs beside its configuration.
type Options struct {
	Log     *slog.Logger // default: none
	Version string
	// Ready is called once the daemon listens and all its parts are open.
	Ready func(Listening)
	// Hurry ends the drain: what still runs is stopped and requeued.
	Hurry <-chan struct{}
}

// Listening is where a daemon can be reached.
type Listening struct {
	URL    string // "" where it listens on its socket alone
	Socket string // "" where there is none
}

// settleWithin bounds the wait of a start for what an earlier daemon, killed, left running. Its shims need two seconds.
const settleWithin = 5 * time.Second

// Run runs a daemon until ctx ends; then it starts nothing more, lets what runs come to its end for the
// configured drain timeout, requeues the rest and returns nil. It also returns nil where ctx ends before all is open. An
// error says why it could not start, or had to stop.
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
	// Beyond the end of ctx, so that the drain is served like any other time.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer paceCollector()()

	// The port and the socket come first: a daemon that nobody could reach must not run anything.
	l, err := listen(ctx, c)
	if err != nil {
		return err
	}
	defer l.close()
	f, err := newFront(c, o, l)
	if err != nil {
		return err
	}
	f.serve(life)
	defer f.shutdown(life)
	warnUnused(c, o.Log)
	p, err := open(ctx, c, o.Log)
	if err != nil {
		return stopped(ctx, err, o.Log)
	}
	// Answers that are under way end before what they read from is closed.
	defer func() { err = errors.Join(err, p.close()) }()
	defer f.shutdown(life)
	if err := f.offer(p); err != nil {
		return errors.Join(err, p.engine.Close(ended()))
	}
	announce(c, o, l, p)

	select {
	case <-ctx.Done():
		o.Log.Info("stopping: nothing more is started", "drain_timeout", c.DrainTimeout.String())
	case err = <-f.broken:
		o.Log.Error("stopping: cannot be reached any more", "error", err)
	}
	tellSystemd(o.Log, "STOPPING=1")
	f.draining.Store(true)
	err = errors.Join(err, drain(life, p.engine, c.DrainTimeout, o.Hurry))
	f.shutdown(life)
	o.Log.Info("stopped")
	return err
}

// stopped returns why the parts of a daemon were not opened; nil where it was told to stop meanwhile.
func stopped(ctx context.Context, err error, log *slog.Logger) error {
	if ctx.Err() == nil {
		return err
	}
	log.Info("stopped before all was open", "error", err)
	return nil
}

// announce says that the daemon takes work, and where.
func announce(c *config.Config, o Options, l *listeners, p *parts) {
	if err := leaveNote(c, l); err != nil {
		o.Log.Warn("the command line may not find this daemon by itself", "error", err)
	}
	o.Log.Info("listening", "url", l.url(), "socket", l.socket, "config", c.Source, "pools", len(c.Pools), "node", p.engine.Node(), "version", o.Version)
	tellSystemd(o.Log, "READY=1")
	if o.Ready != nil {
		o.Ready(Listening{URL: l.url(), Socket: l.socket})
	}
}

// nodeGrace is how long the others wait for a node that is silent to have stopped what it runs: as long as commands are
// given to end by themselves, and some more.
func nodeGrace(c *config.Config) time.Duration {
	var longest time.Duration
	for _, p := range c.Pools {
		longest = max(longest, p.Executor.KillGrace)
	}
	return longest + graceSpare
}

const graceSpare = 2 * time.Second

// drain closes the engine, in a hurry once hurry is closed.
func drain(ctx context.Context, eng *engine.Engine, timeout time.Duration, hurry <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	go func() {
		select {
		case <-hurry:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := eng.Close(ctx); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// ended returns a context that is over.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
