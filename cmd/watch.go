package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"time"
)

// watchView shows the result of fetch: once, or with --watch until fetch says that it is done.
func watchView[T any](ctx context.Context, g *globals, o statusOptions, l listing[T],
	fetch func(context.Context) ([]T, bool, error), page func([]T) any,
) error {
	items, done, err := fetch(ctx)
	if err != nil {
		return err
	}
	if !o.watch {
		return l.print(g.printer(), page(items), items)
	}
	show := printChanges(g, l)
	if isTerminal(g.out) && g.output.forPeople() {
		show = redrawTable(g, l, page)
	}
	for {
		if err := show(items); err != nil || done {
			return err
		}
		if err := sleep(ctx, time.Duration(o.interval)); err != nil {
			return err
		}
		err := g.retryForever().do(ctx, func(ctx context.Context) (err error) {
			items, done, err = fetch(ctx)
			return err
		})
		if err != nil {
			return err
		}
	}
}

// printChanges prints each item that is new or has changed.
func printChanges[T any](g *globals, l listing[T]) func([]T) error {
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

// redrawTable draws the table over the last one.
func redrawTable[T any](g *globals, l listing[T], page func([]T) any) func([]T) error {
	return func(items []T) error {
		var b bytes.Buffer
		p := g.printer()
		p.w = &b
		if err := l.print(p, page(items), items); err != nil {
			return err
		}
		return drawFrame(g.out, b.Bytes(), "\n")
	}
}

// drawFrame draws over the last frame: from the top, erasing the rest of each line and then everything below. Clearing
// the screen first would flicker.
func drawFrame(w io.Writer, text []byte, eol string) error {
	text = bytes.ReplaceAll(text, []byte("\n"), []byte("\x1b[K"+eol))
	_, err := fmt.Fprintf(w, "\x1b[H%s\x1b[J", text)
	return err
}
