package cmd

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parkd-dev/parkd/pkg/park"
)

// duration is a flag with a duration.
type duration time.Duration

// Set implements [pflag.Value].
func (d *duration) Set(s string) error {
	v, err := park.ParseDuration(s)
	*d = duration(v)
	return err
}

// String implements [pflag.Value].
func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Type implements [pflag.Value].
func (d *duration) Type() string { return "duration" }

// choice is a flag with a fixed set of values.
type choice struct {
	value string
	words []string
}

// Set implements [pflag.Value].
func (c *choice) Set(s string) error {
	if slices.Contains(c.words, s) {
		c.value = s
		return nil
	}
	return fmt.Errorf("must be one of %s", strings.Join(c.words, ", "))
}

// String implements [pflag.Value].
func (c *choice) String() string { return c.value }

// Type implements [pflag.Value].
func (c *choice) Type() string { return "word" }

func toStrings[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = string(v)
	}
	return out
}

func priorities() []string {
	var out []string
	for _, p := range park.Priorities() {
		out = append(out, p.String())
	}
	return out
}

// envKey marks a flag that an environment variable can set.
const envKey = "parkd_env"

// fromEnv lets an environment variable set a flag that the command line does not, and adds the variable to the help.
func fromEnv(fs *pflag.FlagSet, flag, variable string) {
	f := fs.Lookup(flag)
	f.Usage += " [$" + variable + "]"
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[envKey] = []string{variable}
}

// describeDefault sets the text for a flag's default, if the default itself depends on the machine and must not be in
// generated pages.
func describeDefault(fs *pflag.FlagSet, flag, text string) {
	f := fs.Lookup(flag)
	f.Usage += " (default " + text + ")"
	f.DefValue = ""
}

// applyEnv sets flags from the environment that the command line does not set.
func (g *globals) applyEnv(c *cobra.Command) error {
	var failed error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		names := f.Annotations[envKey]
		if f.Changed || failed != nil || len(names) == 0 {
			return
		}
		value := g.getenv(names[0])
		if value == "" {
			return
		}
		if err := c.Flags().Set(f.Name, value); err != nil {
			failed = usagef("%s %w", names[0], valueError(err))
		}
		g.fromEnvironment[f.Name] = true
	})
	return failed
}

// flagError explains the error of a flag's value.
func flagError(_ *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usagef("--%s %w", invalid.GetFlag().Name, valueError(err))
	}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() != "" {
		return usagef("unknown flag: -%s", unknown.GetSpecifiedName())
	}
	return err
}

// valueError says which values a flag takes. The errors of Go's own parsers name their functions instead.
func valueError(err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	want := ""
	switch invalid.GetFlag().Value.Type() {
	case "int", "int64":
		want = "a whole number"
	case "uint64":
		want = "a whole number that is not negative"
	case "float64":
		want = "a number"
	case "bool":
		want = "true or false"
	default:
		return invalid.Unwrap()
	}
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("is out of range: %s", invalid.GetValue())
	}
	return fmt.Errorf("must be %s, not %q", want, invalid.GetValue())
}

// mailboxFlags are the flags of a mailbox: the same for submit and mailbox, so that one reads what the other sent
// without flags.
type mailboxFlags struct {
	tenant  string
	mailbox string
}

func (a *mailboxFlags) flags(fs *pflag.FlagSet, mailbox string) {
	fs.StringVar(&a.tenant, "tenant", park.DefaultTenant, "tenant")
	fromEnv(fs, "tenant", "PARKD_TENANT")
	fs.StringVar(&a.mailbox, "mailbox", loginName(), mailbox)
	describeDefault(fs, "mailbox", "your login name")
	fromEnv(fs, "mailbox", "PARKD_MAILBOX")
}

// loginName returns the user's name, or a fixed name if the system has none.
func loginName() string {
	if u, err := user.Current(); err == nil && park.CheckName("mailbox", u.Username) == nil {
		return u.Username
	}
	for _, v := range []string{"USER", "USERNAME"} {
		if name := os.Getenv(v); park.CheckName("mailbox", name) == nil {
			return name
		}
	}
	return park.DefaultTenant
}

// parsePast reads a time, or a duration before now. A number without a unit is an error.
func parsePast(flag, s string, now time.Time) (park.Time, error) {
	if d, err := park.ParseDuration(s); err == nil && !isNumber(s) {
		return park.At(now.Add(-time.Duration(d))), nil
	}
	if t, err := park.ParseTime(s); err == nil && !t.IsZero() {
		return t, nil
	}
	return park.Time{}, usagef("--%s must be a duration with a unit (24h, 7d) or an RFC 3339 time, not %q", flag, s)
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// parseFuture reads a time, or a duration from now.
func parseFuture(flag, s string, now time.Time) (park.Time, error) {
	if s == "" {
		return park.Time{}, nil
	}
	if d, err := park.ParseDuration(s); err == nil && !isNumber(s) {
		return park.At(now.Add(time.Duration(d))), nil
	}
	// The zero time means none elsewhere.
	if t, err := park.ParseTime(s); err == nil && !t.IsZero() {
		return t, nil
	}
	return park.Time{}, usagef("--%s must be a duration with a unit (10m, 2h) or an RFC 3339 time, not %q", flag, s)
}

// seconds refuses fractions of a second, because they would be cut off silently.
func seconds(flag string, d duration) (park.Seconds, error) {
	v := time.Duration(d)
	if v%time.Second != 0 {
		return 0, usagef("--%s must be whole seconds, not %s", flag, v)
	}
	return park.Seconds(v / time.Second), nil
}
