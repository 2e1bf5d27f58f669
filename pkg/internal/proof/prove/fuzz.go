package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

// target is a fuzz test.
type target struct{ pkg, name string }

// targets finds the fuzz tests below the working folder.
func targets() (found []target, err error) {
	name := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range name.FindAllSubmatch(b, -1) {
			found = append(found, target{"./" + filepath.Dir(path), string(m[1])})
		}
		return err
	})
	return found, err
}

// fuzzEach is the default time for each target. The ci form fuzzes nothing: building for it takes minutes, and the
// seeds are ordinary tests.
const fuzzEach = 2 * time.Minute

// fuzzing is the name of the line of all fuzz tests.
const fuzzing = "fuzzing"

// fuzzAll fuzzes each target for its share of the time and adds one line to the log.
func fuzzAll(ctx context.Context, form, log string, share float64, out io.Writer) error {
	all, err := targets()
	if err != nil {
		return err
	}
	each := fuzzEach
	if share > 0 {
		each = max(time.Second, time.Duration(share/float64(len(all))*float64(time.Second)))
	}
	began := time.Now()
	line := proof.Line{Campaign: fuzzing, Form: form, Counts: map[string]int64{}, Targets: map[string]int64{"targets": int64(len(all))}}
	var errs []error
	for _, t := range all {
		if ctx.Err() != nil {
			break
		}
		args := []string{"test", "-run", "^$", "-fuzz", "^" + t.name + "$", "-fuzztime", each.String(), "-timeout", (each + slack).String(), t.pkg}
		err := fuzzOne(ctx, out, args)
		if errors.Is(err, errEndless) {
			err = fuzzOne(ctx, out, args)
		}
		if err != nil && ctx.Err() == nil {
			line.Broken++
			line.Notes = append(line.Notes, "fails: "+t.name)
			errs = append(errs, fmt.Errorf("%s: %w", t.name, err))
		}
		line.Counts["targets"]++
		line.Counts["seconds of each"] = int64(each.Seconds())
	}
	line.Seconds, line.At = time.Since(began).Seconds(), time.Now().UTC().Format(time.RFC3339)
	return errors.Join(append(errs, addLine(log, &line))...)
}

// errEndless means that the fuzzer took the end of its own time for a failure, as it sometimes does on a busy machine.
var errEndless = errors.New("the fuzzer did not end in time")

func fuzzOne(ctx context.Context, out io.Writer, args []string) error {
	var said bytes.Buffer
	err := goTool(ctx, io.MultiWriter(out, &said), args...)
	if err != nil && strings.Contains(said.String(), "context deadline exceeded") && !strings.Contains(said.String(), "Failing input written") {
		return errEndless
	}
	return err
}

func addLine(path string, l *proof.Line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Close())
}
