package cmd

import (
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Annotations of flags that allow values which are otherwise refused.
const (
	mayBeEmpty = "parkd_may_be_empty"
	isPath     = "parkd_is_path" // of this machine, where names are bytes
)

// checkInput refuses values that would be misunderstood. An empty value would be taken for a missing one; mostly a
// script's variable was not set. And text that is not UTF-8 cannot be sent unchanged.
func checkInput(c *cobra.Command, args []string) error {
	for i, a := range args {
		switch {
		case !utf8.ValidString(a):
			return usagef("argument %d is not valid UTF-8: %q", i+1, a)
		case a == "" && c.Annotations[takesCommand] == "":
			return usagef("argument %d is empty", i+1)
		}
	}
	var wrong error
	c.Flags().Visit(func(f *pflag.Flag) {
		if wrong == nil {
			wrong = checkFlag(f)
		}
	})
	return wrong
}

func checkFlag(f *pflag.Flag) error {
	values := []string{f.Value.String()}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		values = list.GetSlice()
		if len(values) == 0 {
			values = []string{""}
		}
	} else if f.Value.Type() != "string" {
		return nil
	}
	for _, v := range values {
		switch {
		case v == "" && f.Annotations[mayBeEmpty] == nil:
			return usagef("--%s is empty: give a value, or leave it out", f.Name)
		case !utf8.ValidString(v) && f.Annotations[isPath] == nil:
			return usagef("--%s is not valid UTF-8: %q", f.Name, v)
		}
	}
	return nil
}

// mark adds an annotation to flags.
func mark(fs *pflag.FlagSet, annotation string, names ...string) {
	for _, name := range names {
		f := fs.Lookup(name)
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[annotation] = []string{"yes"}
	}
}
