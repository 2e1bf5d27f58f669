package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// builder builds the tests of a package once for all campaigns, and keeps what campaigns build themselves.
type builder struct {
	dir string

	mu    sync.Mutex
	built map[string]*binary
}

type binary struct {
	path string
	mu   sync.Mutex // held while it is built
	done bool
}

func newBuilder() (*builder, error) {
	dir, err := os.MkdirTemp("", "parkd-proof-build-")
	return &builder{dir: dir, built: make(map[string]*binary)}, err
}

func (b *builder) close() { _ = os.RemoveAll(b.dir) }

// buildTimeout bounds a build, which may take minutes on a busy machine with an empty cache.
const buildTimeout = 30 * time.Minute

// tests returns the path of a package's test binary, with coverage of the packages in cover, if any. The output of the
// go command goes to out.
func (b *builder) tests(ctx context.Context, pkg, cover string, out io.Writer) (string, error) {
	b.mu.Lock()
	key := pkg + " " + cover
	one := b.built[key]
	if one == nil {
		one = &binary{path: filepath.Join(b.dir, strconv.Itoa(len(b.built))+".test")}
		b.built[key] = one
	}
	b.mu.Unlock()
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.done {
		return one.path, nil
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	args := []string{"test", "-c", "-o", one.path}
	if cover != "" {
		args = append(args, "-cover", "-coverpkg="+cover)
	}
	err := goTool(ctx, out, append(args, pkg)...)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(one.path); err != nil {
		return "", fmt.Errorf("%s has no tests", pkg)
	}
	one.done = true
	return one.path, nil
}
