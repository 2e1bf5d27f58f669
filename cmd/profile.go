package cmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"

	"github.com/spf13/pflag"
)

// profileFlag declares the flag for the folder of profiles. It is for developers and hidden from the help; profiles are
// never offered over the API.
func profileFlag(fs *pflag.FlagSet, folder *string) {
	fs.StringVar(folder, "profile", "", "write profiles of the processor, memory, blocking and locks to this folder")
	_ = fs.MarkHidden("profile")
}

// profile starts profiling the process; stop ends it and writes the profiles into the folder.
func profile(folder string) (stop func() error, err error) {
	if folder == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(filepath.Join(folder, "cpu.pprof"))
	if err != nil {
		return nil, fmt.Errorf("write a profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(fmt.Errorf("write a profile: %w", err), cpu.Close())
	}
	runtime.SetMutexProfileFraction(100)
	runtime.SetBlockProfileRate(1_000_000)
	return func() error {
		pprof.StopCPUProfile()
		errs := []error{cpu.Close()}
		for _, name := range []string{"allocs", "heap", "block", "mutex", "goroutine"} {
			errs = append(errs, writeProfile(folder, name))
		}
		return errors.Join(errs...)
	}, nil
}

func writeProfile(folder, name string) error {
	f, err := os.Create(filepath.Join(folder, name+".pprof"))
	if err != nil {
		return fmt.Errorf("write a profile: %w", err)
	}
	return errors.Join(pprof.Lookup(name).WriteTo(f, 0), f.Close())
}
