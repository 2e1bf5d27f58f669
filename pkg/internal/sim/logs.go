package sim

import (
	"context"
	"log/slog"
)

// logs writes the log of an engine into the timeline.
type logs struct {
	*history
	node string
}

// Enabled implements [slog.Handler], as the methods after it do.
func (l logs) Enabled(context.Context, slog.Level) bool { return l.opt.timeline }

func (l logs) Handle(_ context.Context, r slog.Record) error {
	text := ""
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	l.trace("log", "%s: %s%s", l.node, r.Message, text)
	return nil
}

func (l logs) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l logs) WithGroup(string) slog.Handler      { return l }
