package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/daemon"
)

func newConfigCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Write, check and show the configuration",
		Long: `The configuration is one file in JSON, YAML or TOML. Settings that are not in the file have defaults. Flags of
'parkd serve' and environment variables override the file.`,
		Example: "  parkd config init\n  parkd config check scheduler-config.json\n  parkd config show",
		RunE:    runGroup,
	}
	c.AddCommand(newConfigCheckCommand(g), newConfigInitCommand(g), newConfigShowCommand(g), newConfigSchemaCommand(g))
	setExitCodes(c, exitDone, exitUsage)
	return c
}

func newConfigCheckCommand(g *globals) *cobra.Command {
	var o settings
	c := &cobra.Command{
		Use:   "check [flags] [FILE]",
		Short: "Check a configuration and report every mistake",
		Long: `Checks a configuration as 'parkd serve' does. Each mistake is reported with its place in the file and with what
would be valid there (exit code 2). The command starts nothing and opens no database.`,
		Example: "  parkd config check scheduler-config.json\n  parkd config check --config prod.yaml -o json",
		Args:    atMostOne,
		RunE: g.run(func(_ context.Context, args []string) error {
			return runConfigCheck(g, o, args)
		}),
	}
	o.flags(c)
	setExitCodes(c, exitDone, exitUsage)
	return c
}

func runConfigCheck(g *globals, o settings, args []string) error {
	if len(args) > 0 {
		o.file = args[0]
	}
	c, err := o.load(g)
	if err == nil {
		err = daemon.Check(c)
	}
	faults, wrong := errors.AsType[config.Faults](err)
	if err != nil && !wrong {
		return err
	}
	if wrong && !g.output.forPeople() {
		if err := faultList().print(g.printer(), faultPage{faults}, faults); err != nil {
			return err
		}
		return &cliError{Code: exitUsage}
	}
	if err != nil {
		return err
	}
	if !g.output.forPeople() {
		return faultList().print(g.printer(), faultPage{[]config.Fault{}}, nil)
	}
	g.notice("%s is valid (%s).", orDefaults(c.Source), plural(len(c.Pools), "pool"))
	return nil
}

// plural counts things: 1 pool, 2 pools.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func orDefaults(source string) string {
	if source == "" {
		return "The default configuration, without a file,"
	}
	return source
}

type faultPage struct {
	Faults []config.Fault `json:"faults"`
}

func faultList() listing[config.Fault] {
	return listing[config.Fault]{
		id: func(f config.Fault) string { return f.Path },
		columns: []column[config.Fault]{
			{name: "path", cell: func(_ *printer, f config.Fault) string { return f.Path }},
			{name: "problem", cell: func(_ *printer, f config.Fault) string { return f.Problem }},
		},
	}
}

type initOptions struct {
	kind   choice
	format choice
	force  bool
}

func newConfigInitCommand(g *globals) *cobra.Command {
	o := initOptions{
		kind:   choice{value: "desktop", words: config.SampleNames()},
		format: choice{words: []string{"json", "yaml", "toml"}},
	}
	c := &cobra.Command{
		Use:   "init [flags] [FILE]",
		Short: "Write a sample configuration",
		Long: `Writes a sample to scheduler-config.json, or to FILE. The extension of the file's name selects the format. An
existing file is not overwritten unless --force is given.`,
		Example: "  parkd config init\n  parkd config init --kind cloud cloud.yaml\n  parkd config init --format toml -",
		Args:    atMostOne,
		RunE:    g.run(func(_ context.Context, args []string) error { return runConfigInit(g, o, args) }),
	}
	fs := c.Flags()
	fs.Var(&o.kind, "kind", "which sample: "+strings.Join(config.SampleNames(), ", "))
	fs.Var(&o.format, "format", "json, yaml or toml")
	fs.BoolVar(&o.force, "force", false, "overwrite an existing file")
	completeWords(c, "kind", o.kind.words)
	completeWords(c, "format", o.format.words)
	setExitCodes(c, exitDone, exitFailed, exitUsage)
	return c
}

func runConfigInit(g *globals, o initOptions, args []string) error {
	file := "scheduler-config"
	if len(args) > 0 {
		file = args[0]
	}
	format := o.format.value
	if format == "" {
		if format = strings.TrimPrefix(filepath.Ext(file), "."); format == "yml" {
			format = "yaml"
		}
	}
	if format == "" {
		format = "json"
	}
	b, err := config.Sample(o.kind.value, format)
	if err != nil {
		return usage(err)
	}
	if file == "-" {
		_, err := g.out.Write(b)
		return err
	}
	if filepath.Ext(file) == "" {
		file += "." + format
	}
	return writeNew(g, file, b, o.force)
}

func writeNew(g *globals, file string, b []byte, force bool) error {
	how := os.O_CREATE | os.O_WRONLY | os.O_EXCL
	if force {
		how = os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	}
	// The file may get tokens.
	f, err := os.OpenFile(file, how, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &cliError{Code: exitFailed, Name: "file_exists", Err: fmt.Errorf("%s already exists", file), Hint: "Use --force to overwrite it."}
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	g.notice("Wrote %s. Next: parkd serve --config %s", file, file)
	return nil
}

func newConfigShowCommand(g *globals) *cobra.Command {
	var o settings
	c := &cobra.Command{
		Use:   "show [flags]",
		Short: "Print every setting and its source",
		Long: `Prints every setting as 'parkd serve' would use it, and its source: the default, the file, the environment or a
flag. Values that may be secret are masked.`,
		Example: "  parkd config show\n  parkd config show --config scheduler-config.json -o json",
		Args:    noArgs,
		RunE: g.run(func(context.Context, []string) error {
			cfg, err := o.load(g)
			if err != nil {
				return err
			}
			all := cfg.Show(daemon.DescribeDSN)
			return settingList().print(g.printer(), settingPage{cfg.Source, all}, all)
		}),
	}
	o.flags(c)
	setExitCodes(c, exitDone, exitUsage)
	return c
}

type settingPage struct {
	Source   string           `json:"source,omitempty"`
	Settings []config.Setting `json:"settings"`
}

func settingList() listing[config.Setting] {
	return listing[config.Setting]{
		id: func(s config.Setting) string { return s.Path },
		columns: []column[config.Setting]{
			{name: "setting", cell: func(_ *printer, s config.Setting) string { return s.Path }},
			{name: "value", cell: func(_ *printer, s config.Setting) string { return s.Value }},
			{name: "from", cell: func(_ *printer, s config.Setting) string { return s.From }},
		},
	}
}

func newConfigSchemaCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the configuration",
		Long:    "Prints the JSON Schema of the configuration. Editors use it for completion and checking.",
		Example: "  parkd config schema > scheduler-config.schema.json",
		Args:    noArgs,
		RunE: g.run(func(context.Context, []string) error {
			b, err := config.Schema()
			if err == nil {
				_, err = g.out.Write(b)
			}
			return err
		}),
	}
	setExitCodes(c, exitDone, exitFailed, exitUsage)
	return c
}
