package cmd

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interruptible returns a context that ends with the first SIGINT or SIGTERM. After it the signals have their
// usual effect again, so that a second one ends the program at once.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// secondSignal returns a channel that the second SIGINT or SIGTERM closes. The third ends the program.
func secondSignal(ctx context.Context) (hurry <-chan struct{}, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	closed := make(chan struct{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer signal.Stop(signals)
		for range 2 {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
		}
		close(closed)
	}()
	return closed, cancel
}

// longRunning makes a command orderly that runs until it is told to stop. A terminal that is closed (SIGHUP) ends the
// returned context as SIGTERM does, once and for all: shells send it twice, which must not count as a second wish. Where
// it was ignored at the start, as under nohup, it stays so. What the command says may be lost when its reader has gone
// away (SIGPIPE): that is no reason to die. Neither signal is set to be ignored, for commands would inherit that.
func longRunning(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	broken, hangup := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(hangup, syscall.SIGHUP)
	}
	go func() {
		select {
		case <-hangup:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		signal.Stop(broken)
		signal.Stop(hangup)
	}
}
