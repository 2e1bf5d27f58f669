package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/daemon"
)

type serveOptions struct {
	settings
	readyFD   int
	logLevel  choice
	logFormat choice
	profile   string
}

// noFD stands for no file descriptor.
const noFD = -1

func newServeCommand(g *globals) *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Run the daemon",
		Long: `Runs the daemon until SIGTERM or Ctrl-C stops it, or until its terminal is closed (SIGHUP, unless that signal is
ignored, as under nohup). A second SIGTERM or Ctrl-C skips the wait for running tasks. Without a configuration it
listens on loopback and on a socket in your own folder, keeps everything in a SQLite file in your state folder,
and has the pools default and gpu.

If the configuration has mistakes, each is reported with its place and the daemon does not start (exit code 2).`,
		Example: `  parkd serve
  parkd serve --config scheduler-config.json
  parkd serve --config cluster.toml --postgres-dsn postgres://user@host/parking --pools gpu
  parkd serve --listen 127.0.0.1:8080 --db ./parkd.db --log-format json`,
		Args: noArgs,
	}
	o.flags(c)
	fs := c.Flags()
	fs.IntVar(&o.readyFD, "ready-fd", noFD, "file descriptor that gets one line of JSON, with url and socket, once the daemon listens")
	fs.Lookup("ready-fd").DefValue = "0" // not shown in the help
	logFlags(c, &o.logLevel, &o.logFormat)
	profileFlag(fs, &o.profile)
	c.RunE = g.run(func(ctx context.Context, _ []string) error { return runServe(ctx, g, o) })
	setExitCodes(c, exitDone, exitFailed, exitUsage)
	return c
}

func runServe(ctx context.Context, g *globals, o serveOptions) (err error) {
	stopProfile, err := profile(o.profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfile()) }()
	ready, err := o.readyFile()
	if err != nil {
		return err
	}
	cfg, err := o.load(g)
	if err != nil {
		return err
	}
	ctx, done := longRunning(ctx)
	defer done()
	skipDrain, stop := secondSignal(ctx)
	defer stop()
	return daemon.Run(ctx, cfg, daemon.Options{
		Log: logger(g.err, o.logLevel, o.logFormat), Version: g.build().Version, SkipDrain: skipDrain,
		Ready: func(at daemon.Addresses) {
			o.announce(g, ready, at, cfg)
		},
	})
}

// logFlags declares the flags for the logs of long-running commands.
func logFlags(c *cobra.Command, level, format *choice) {
	*level = choice{value: "info", words: []string{"debug", "info", "warn", "error"}}
	*format = choice{value: "text", words: []string{"text", "json"}}
	fs := c.Flags()
	fs.Var(level, "log-level", "debug, info, warn or error")
	fromEnv(fs, "log-level", "PARKD_LOG_LEVEL")
	fs.Var(format, "log-format", "text or json")
	fromEnv(fs, "log-format", "PARKD_LOG_FORMAT")
	completeWords(c, "log-level", level.words)
	completeWords(c, "log-format", format.words)
}

func logger(w io.Writer, level, format choice) *slog.Logger {
	var threshold slog.Level
	// The flag takes only words that slog knows.
	_ = threshold.UnmarshalText([]byte(level.value))
	options := &slog.HandlerOptions{Level: threshold}
	if format.value == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// readyFile opens the file descriptor of --ready-fd. It is checked before anything is started.
func (o *serveOptions) readyFile() (*os.File, error) {
	switch {
	case o.readyFD == noFD:
		return nil, nil
	case o.readyFD < 0:
		return nil, usagef("--ready-fd %d is not a file descriptor", o.readyFD)
	}
	f := os.NewFile(uintptr(o.readyFD), "ready-fd")
	if f == nil {
		return nil, usagef("--ready-fd %d is not a file descriptor", o.readyFD)
	}
	if _, err := f.Stat(); err != nil {
		return nil, usagef("--ready-fd %d is not open: %w", o.readyFD, err)
	}
	return f, nil
}

// announce writes the addresses to the ready file descriptor and, on a terminal, for people.
func (o *serveOptions) announce(g *globals, ready *os.File, addrs daemon.Addresses, c *config.Config) {
	if ready != nil {
		line := struct {
			URL    string `json:"url"`
			Socket string `json:"socket,omitempty"`
		}{addrs.URL, addrs.Socket}
		// The reader may have closed it: that is no error of the daemon.
		_ = json.NewEncoder(ready).Encode(line)
		_ = ready.Close()
	}
	if isTerminal(g.err) {
		printGreeting(g.err, addrs, c)
	}
}

func printGreeting(w io.Writer, addrs daemon.Addresses, c *config.Config) {
	source := c.Source
	if source == "" {
		source = "none, using the defaults ('parkd config show' prints them, 'parkd config init' writes a file)"
	}
	text := addrs.URL
	if addrs.Socket != "" {
		text = strings.TrimPrefix(text+" and "+addrs.Socket, " and ")
	}
	fmt.Fprintf(w, "parkd listens on %s\nConfiguration: %s\nNext, in another terminal: parkd submit -- echo hello, then parkd mailbox poll\n", text, source)
}

// settings are the flags of the configuration.
type settings struct {
	file   string
	listen string
	socket string
	db     string
	dsn    string
	pools  []string
}

func (s *settings) flags(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVarP(&s.file, "config", "c", "", "configuration file (JSON, YAML or TOML)")
	fromEnv(fs, "config", "PARKD_CONFIG")
	fs.StringVar(&s.listen, "listen", "", "address to listen on, or off (default 127.0.0.1:7275)")
	fs.StringVar(&s.socket, "socket", "", "path of the unix socket, or off")
	fs.StringVar(&s.db, "db", "", "path of the SQLite file (default parkd.db in your state folder)")
	fs.StringVar(&s.dsn, "postgres-dsn", "", "address of the Postgres database")
	fs.StringSliceVar(&s.pools, "pools", nil, "start tasks of these pools only; other nodes on the same Postgres start the rest")
	mark(fs, isPath, "config", "socket", "db")
	_ = c.MarkFlagFilename("config", "json", "yaml", "yml", "toml")
}

func (s *settings) load(g *globals) (*config.Config, error) {
	return config.Load(config.Options{
		File: s.file, Listen: s.listen, Socket: s.socket, DB: s.db, DSN: s.dsn, Pools: s.pools, Env: g.getenv,
	})
}
