package cmd

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func shells() []string { return []string{"bash", "zsh", "fish", "powershell"} }

func newCompletionCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a shell completion script",
		Long:  "Prints a completion script for your shell. It completes commands, flags, and the pools and tasks of the daemon.",
		Example: `  parkd completion bash > ~/.local/share/bash-completion/completions/parkd
  parkd completion zsh > "${fpath[1]}/_parkd"
  parkd completion fish > ~/.config/fish/completions/parkd.fish
  parkd completion powershell | Out-String | Invoke-Expression`,
		Args:      exactlyOne("the name of a shell"),
		ValidArgs: shells(),
	}
	c.RunE = g.run(func(_ context.Context, args []string) error {
		return writeCompletion(c.Root(), g.out, args[0])
	})
	exits(c, exitDone, exitUsage)
	return c
}

func writeCompletion(root *cobra.Command, w io.Writer, shell string) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(w)
	}
	return usagef("the shell must be bash, zsh, fish or powershell, not %q", shell)
}
