package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// findProgram finds the program to run on the PATH of the command.
func (s *shim) findProgram() (string, error) {
	if dir := s.job.WorkDir; dir != "" {
		info, err := os.Stat(dir)
		if err != nil {
			return "", fmt.Errorf("cannot use the working directory: %w", err)
		}
		if !info.IsDir() {
			return "", fmt.Errorf("the working directory %s is not a directory", dir)
		}
	}
	name := s.job.Command[0]
	if strings.Contains(name, "/") {
		return name, nil // from the working directory, if it is relative
	}
	search := ""
	for _, v := range s.job.Env {
		if path, ok := strings.CutPrefix(v, "PATH="); ok {
			search = path
		}
	}
	if err := os.Setenv("PATH", search); err != nil {
		return "", fmt.Errorf("search PATH: %w", err)
	}
	path, err := exec.LookPath(name)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%q is on the daemon's PATH but is not executable (PATH=%s)", name, search)
	case err != nil:
		return "", fmt.Errorf("%q is not on the daemon's PATH: give the full path, or start a shell with sh -c (PATH=%s)", name, search)
	}
	return path, nil
}
