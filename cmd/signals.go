package cmd

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interruptible returns a context that ends with the first SIGINT or SIGTERM. Then the signals have their default
// effect again, so that a second one ends the program at once.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// secondSignal returns a channel that is closed by the second SIGINT or SIGTERM. The third ends the program.
func secondSignal(ctx context.Context) (second <-chan struct{}, stop func()) {
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

// longRunning sets up the signals of a command that runs until it is stopped. When its terminal is closed (SIGHUP), the
// returned context ends as it does after SIGTERM. Shells send SIGHUP twice; the second must not count as a second
// SIGTERM. If SIGHUP was ignored at the start, as under nohup, it stays ignored. A closed standard output (SIGPIPE)
// does not end the program. Neither signal is set to be ignored here, because commands would inherit that.
func longRunning(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	pipe, hangup := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
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
		signal.Stop(pipe)
		signal.Stop(hangup)
	}
}
