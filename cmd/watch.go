package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"time"
)

// watchView shows what look returns: once, or with --watch as long as look does not say that it is over.
func watchView[T any](ctx context.Context, g *globals, o statusOptions, l listing[T],
	look func(context.Context) ([]T, bool, error), page func([]T) any,
) error {
	items, over, err := look(ctx)
	if err != nil {
		return err
	}
	if !o.watch {
		return l.print(g.printer(), page(items), items)
	}
	show := changes(g, l)
	if isTerminal(g.out) && g.output.forPeople() {
		show = redraw(g, l, page)
	}
	for {
		if err := show(items); err != nil || over {
			return err
		}
		if err := pause(ctx, time.Duration(o.every)); err != nil {
			return err
		}
		err := g.patient().ask(ctx, func(ctx context.Context) (err error) {
			items, over, err = look(ctx)
			return err
		})
		if err != nil {
			return err
		}
	}
}

// changes prints each item when it is new or has changed.
func changes[T any](g *globals, l listing[T]) func([]T) error {
	seen := map[string]T{}
	out := newStream(g.printer(), l)
	return func(items []T) error {
		for _, v := range items {
			id := l.id(v)
			if old, ok := seen[id]; ok && reflect.DeepEqual(old, v) {
				continue
			}
			seen[id] = v
			if err := out.print(v); err != nil {
				return err
			}
		}
		return nil
	}
}

// redraw clears the terminal and draws the table again.
func redraw[T any](g *globals, l listing[T], page func([]T) any) func([]T) error {
	return func(items []T) error {
		var b bytes.Buffer
		p := g.printer()
		p.w = &b
		if err := l.print(p, page(items), items); err != nil {
			return err
		}
		return frame(g.out, b.Bytes(), "\n")
	}
}

// frame draws over what is there: home, each line with its rest erased, then everything below. That does not
// flicker, as clearing first would.
func frame(w io.Writer, text []byte, eol string) error {
	text = bytes.ReplaceAll(text, []byte("\n"), []byte("\x1b[K"+eol))
	_, err := fmt.Fprintf(w, "\x1b[H%s\x1b[J", text)
	return err
}
