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

// runMark is the variable whose value is unique to a run: by it processes are found whose shim was killed.
const runMark = "PARKD_RUN"

// fallbackPath is used where the daemon itself has no PATH.
const fallbackPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// passed reports whether a variable of the daemon reaches every command.
func passed(name string) bool {
	switch name {
	case "PATH", "HOME", "LANG", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR",
		"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
		"ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES":
		return true
	}
	return strings.HasPrefix(name, "LC_")
}

// refused reports whether a variable must not be given to commands: those that make another program of the one
// that was named, and parkd's own, which may hold secrets.
func refused(name string) bool {
	if name == "LD_LIBRARY_PATH" {
		return false // where the libraries of a card are; it is the operator who says so
	}
	for _, prefix := range []string{"LD_", "DYLD_", "GIT_", "PARKD_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "BASH_ENV" || name == "ENV"
}

// CheckEnv returns an error where entry i, from 0, of the further variables of commands is not one that they may be given,
// else -1. The error does not repeat the variable's value.
func CheckEnv(extra []string) (i int, err error) {
	for i, e := range extra {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case name == "" || strings.ContainsRune(e, 0):
			return i, errors.New("must be NAME or NAME=VALUE")
		case refused(name):
			return i, fmt.Errorf("%s must not be given to commands", name)
		}
	}
	return -1, nil
}

// allowed returns what of the daemon's environment a command gets, and extra, in order of name.
func allowed(environ, extra []string) ([]string, error) {
	own := make(map[string]string, len(environ))
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		own[name] = value
	}
	env := map[string]string{"PATH": fallbackPath}
	for name, value := range own {
		if passed(name) {
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
	return sorted(env), nil
}

// taskEnv adds the variables that tell a command what it runs for.
func taskEnv(env []string, a park.Assignment, run string) []string {
	return append(slices.Clip(env),
		"PARKD_ATTEMPT="+strconv.Itoa(a.Attempt),
		"PARKD_POOL="+a.PoolID,
		runMark+"="+run,
		"PARKD_TASK_ID="+park.ShownTaskID(a.TaskID),
		"PARKD_TENANT="+a.Tenant,
		"PARKD_UNITS="+strconv.FormatInt(a.Units, 10),
	)
}

func sorted(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
