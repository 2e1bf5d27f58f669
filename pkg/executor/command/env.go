package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// runVariable has a value that is unique to a run. Processes whose shim was killed are found by it.
const runVariable = "PARKD_RUN"

// fallbackPath is used if the daemon itself has no PATH.
const fallbackPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// isInherited reports whether every command gets a variable of the daemon.
func isInherited(name string) bool {
	switch name {
	case "PATH", "HOME", "LANG", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR",
		"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
		"ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES":
		return true
	}
	return strings.HasPrefix(name, "LC_")
}

// isForbidden reports whether commands must not get a variable: those that change what a program does, and parkd's own,
// which may hold secrets.
func isForbidden(name string) bool {
	if name == "LD_LIBRARY_PATH" {
		return false // an operator needs it for the libraries of a GPU
	}
	for _, prefix := range []string{"LD_", "DYLD_", "GIT_", "PARKD_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "BASH_ENV" || name == "ENV"
}

// CheckEnv returns the index of the first entry that commands must not get, with an error, or -1 and nil. The error does
// not repeat the variable's value.
func CheckEnv(extra []string) (i int, err error) {
	for i, e := range extra {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case name == "" || strings.ContainsRune(e, 0):
			return i, errors.New("must be NAME or NAME=VALUE")
		case isForbidden(name):
			return i, fmt.Errorf("%s must not be given to commands", name)
		}
	}
	return -1, nil
}

// baseEnv returns the inherited part of the daemon's environment and extra, ordered by name.
func baseEnv(environ, extra []string) ([]string, error) {
	own := make(map[string]string, len(environ))
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		own[name] = value
	}
	env := map[string]string{"PATH": fallbackPath}
	for name, value := range own {
		if isInherited(name) {
			env[name] = value
		}
	}
	if i, err := CheckEnv(extra); err != nil {
		return nil, fmt.Errorf("env: entry %d: %w", i+1, err)
	}
	for _, e := range extra {
		name, value, set := strings.Cut(e, "=")
		if !set {
			if value, set = own[name]; !set {
				continue
			}
		}
		env[name] = value
	}
	return envList(env), nil
}

// taskEnv adds the variables that describe the task.
func taskEnv(env []string, a park.Assignment, run string) []string {
	return append(slices.Clip(env),
		"PARKD_ATTEMPT="+strconv.Itoa(a.Attempt),
		"PARKD_POOL="+a.PoolID,
		runVariable+"="+run,
		"PARKD_TASK_ID="+park.ShownTaskID(a.TaskID),
		"PARKD_TENANT="+a.Tenant,
		"PARKD_UNITS="+strconv.FormatInt(a.Units, 10),
	)
}

func envList(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
