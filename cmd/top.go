package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/parkd-dev/parkd/pkg/park"
)

type topOptions struct {
	pool     string
	interval duration
	once     bool
}

func newTopCommand(g *globals) *cobra.Command {
	o := topOptions{interval: duration(time.Second)}
	c := &cobra.Command{
		Use:   "top [flags]",
		Short: "Watch pools and tasks live",
		Long: `Shows how full the pools are, and the running and parked tasks. It refreshes until q or Ctrl-C is pressed. Without
a terminal, or with --once, it prints once and exits.`,
		Example: "  parkd top\n  parkd top --pool gpu\n  parkd top --once",
		Args:    noArgs,
		RunE: g.run(func(ctx context.Context, _ []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runTop(ctx, g, svc, o)
		}),
	}
	g.poolFlag(c, &o.pool, "only this pool (default all)")
	c.Flags().Var(&o.interval, "every", "refresh interval")
	c.Flags().BoolVar(&o.once, "once", false, "print once and exit")
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon)
	return c
}

func runTop(ctx context.Context, g *globals, svc park.Service, o topOptions) error {
	if o.interval <= 0 {
		return usagef("--every must be above 0")
	}
	v, err := fetchTop(ctx, svc, o.pool, topTasks)
	if err != nil {
		return err
	}
	if !g.output.forPeople() {
		return g.printer().json(v)
	}
	if o.once || !isTerminal(g.out) {
		return v.draw(g.printer(), 0)
	}
	return g.liveTop(ctx, svc, o)
}

// topTasks bounds how many tasks of each status and pool are fetched for a view.
const topTasks = 100

// topView is what top shows.
type topView struct {
	Pools   []park.Pool `json:"pools"`
	Running []park.Task `json:"running"`
	Queued  []park.Task `json:"queued"`
}

func fetchTop(ctx context.Context, svc park.Service, pool string, most int) (v topView, err error) {
	if v.Pools, err = poolsOf(ctx, svc, pool); err != nil {
		return v, err
	}
	if v.Running, err = listTasks(ctx, svc, pool, park.TaskQuery{Status: park.Running, Limit: most}); err != nil {
		return v, err
	}
	v.Queued, err = listTasks(ctx, svc, pool, park.TaskQuery{Status: park.Queued, Limit: most})
	return v, err
}

// draw prints the view, with at most the given number of lines; 0 means all.
func (v topView) draw(p *printer, lines int) error {
	var b bytes.Buffer
	inner := *p
	inner.w = &b
	for _, pool := range v.Pools {
		fmt.Fprintln(&b, poolLine(pool))
	}
	if len(v.Running)+len(v.Queued) > 0 {
		fmt.Fprintln(&b)
		if err := taskList().table(&inner, append(slices.Clip(v.Running), v.Queued...)); err != nil {
			return err
		}
	}
	_, err := p.w.Write(firstLines(b.Bytes(), lines))
	return err
}

func firstLines(text []byte, most int) []byte {
	if most <= 0 {
		return text
	}
	end := 0
	for range most {
		i := bytes.IndexByte(text[end:], '\n')
		if i < 0 {
			return text
		}
		end += i + 1
	}
	return text[:end]
}

const barWidth = 24

func poolLine(p park.Pool) string {
	full := 0
	if p.MaxUnits > 0 {
		full = int(min(int64(barWidth), (p.UsedUnits*barWidth+p.MaxUnits-1)/p.MaxUnits))
	}
	bar := strings.Repeat("█", full) + strings.Repeat("░", barWidth-full)
	return fmt.Sprintf("%-12s %s %4d/%-4d units  %3d running  %5d/%d parked  %s",
		cleanLine(p.PoolID), bar, p.UsedUnits, p.MaxUnits, p.Running, p.QueueDepth, p.MaxQueueDepth, cleanLine(poolState(p)))
}

// liveTop redraws until a key ends it. It always restores the terminal.
func (g *globals) liveTop(ctx context.Context, svc park.Service, o topOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, ok := g.out.(*os.File)
	if !ok {
		return nil
	}
	restore := g.takeScreen(cancel)
	defer restore()
	for {
		v, err := topView{}, error(nil)
		err = retryPolicy{}.do(ctx, func(ctx context.Context) (err error) {
			v, err = fetchTop(ctx, svc, o.pool, topTasks)
			return err
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := g.drawScreen(out, v); err != nil {
			return err
		}
		if sleep(ctx, time.Duration(o.interval)) != nil {
			return nil
		}
	}
}

// drawScreen draws as much of v as fits on the screen.
func (g *globals) drawScreen(out *os.File, v topView) error {
	_, height, err := term.GetSize(int(out.Fd()))
	if err != nil || height < 3 {
		height = 24
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "parkd top   %s   q to quit\n\n", g.now().Format(time.TimeOnly))
	p := g.printer()
	p.w = &b
	if err := v.draw(p, height-3); err != nil {
		return err
	}
	return drawFrame(out, b.Bytes(), "\r\n")
}

// takeScreen switches to the alternate screen, hides the cursor, turns off line wrap, and waits for q and Ctrl-C.
func (g *globals) takeScreen(quit func()) (restore func()) {
	fmt.Fprint(g.out, "\x1b[?1049h\x1b[?25l\x1b[?7l")
	back := func() { fmt.Fprint(g.out, "\x1b[?7h\x1b[?25h\x1b[?1049l") }
	in, ok := g.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return back
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return back
	}
	go waitForQuit(in, quit)
	return func() {
		back()
		_ = term.Restore(int(in.Fd()), before)
	}
}

// waitForQuit reads keys until q or Ctrl-C. In raw mode Ctrl-C is a key like any other.
func waitForQuit(in io.Reader, quit func()) {
	key := make([]byte, 1)
	for {
		if _, err := in.Read(key); err != nil {
			return
		}
		if key[0] == 'q' || key[0] == 'Q' || key[0] == 3 {
			quit()
			return
		}
	}
}
