// Package powercut simulates a power cut of a disk.
//
// The disk is an ext4 file system in an image behind a loop device. Data that was written and not flushed is in the
// kernel's memory and not in the image, so a copy of the image is what a disk holds after a power cut. Mounting the
// copy replays the file system's journal, as the next boot would.
//
// It needs root, loop devices and mkfs.ext4.
package powercut

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ErrAbsent means that this machine cannot do it, and why.
var ErrAbsent = errors.New("power cuts need root, loop devices and mkfs.ext4")

// Disk is a disk whose power can be cut.
type Disk struct {
	dir     string
	cuts    int
	mounted bool
}

// Small is a size that can be copied within milliseconds: 64 MiB.
const Small = 64 << 20

// New creates an empty disk of the given size, or returns an [ErrAbsent].
func New(ctx context.Context, size int64) (*Disk, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: this is not root", ErrAbsent)
	}
	base := "/dev/shm" // so that copies cost no disk
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "parkd-disk-")
	if err != nil {
		return nil, err
	}
	d := &Disk{dir: dir}
	if err := d.format(ctx, size); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrAbsent, err), d.Close())
	}
	return d, nil
}

// Path returns the folder in which the disk is mounted. It does not change.
func (d *Disk) Path() string { return filepath.Join(d.dir, "mount") }

func (d *Disk) image() string { return filepath.Join(d.dir, fmt.Sprintf("image-%d", d.cuts)) }

func (d *Disk) format(ctx context.Context, size int64) error {
	// Programs that use the disk need not be root.
	if err := errors.Join(os.Chmod(d.dir, 0o711), os.Mkdir(d.Path(), 0o755)); err != nil {
		return err
	}
	f, err := os.Create(d.image())
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	if err := run(ctx, "mkfs.ext4", "-q", "-F", d.image()); err != nil {
		return err
	}
	return d.mount(ctx)
}

func (d *Disk) mount(ctx context.Context) error {
	err := run(ctx, "mount", "-o", "loop", d.image(), d.Path())
	d.mounted = err == nil
	return err
}

// runTimeout bounds a command, on a slow or busy disk.
const runTimeout = 5 * time.Minute

func run(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = time.Second
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// Cut cuts the power. Programs that use the disk must be stopped (see Freeze) while it is copied, because the copy is
// not instantaneous; kill then ends them. Afterwards the disk is mounted again, with its content at the cut.
func (d *Disk) Cut(ctx context.Context, kill func()) error {
	before := d.image()
	d.cuts++
	err := copySparse(before, d.image())
	kill()
	if err != nil {
		return err
	}
	if err := d.unmount(ctx); err != nil {
		return err
	}
	return errors.Join(os.Remove(before), d.mount(ctx))
}

func (d *Disk) unmount(ctx context.Context) error {
	if !d.mounted {
		return nil
	}
	d.mounted = false
	if run(ctx, "umount", d.Path()) == nil {
		return nil
	}
	return run(ctx, "umount", "--lazy", d.Path())
}

// copySparse copies a file without its holes, which are most of it.
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Sync flushes everything that was written to the disk.
func (d *Disk) Sync(ctx context.Context) error { return run(ctx, "sync", "--file-system", d.Path()) }

// Close unmounts the disk and removes it.
func (d *Disk) Close() error {
	err := d.unmount(context.Background())
	return errors.Join(err, os.RemoveAll(d.dir))
}
