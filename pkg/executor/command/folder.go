package command

import (
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
)

// folderRoot is the folder of all logs, as an [os.Root] that can be reopened after the folder was removed.
type folderRoot struct {
	dir  string
	root atomic.Pointer[os.Root]
}

func openFolder(dir string) (*folderRoot, error) {
	f := &folderRoot{dir: dir}
	return f, f.reopen()
}

// reopen creates the folder if needed. Files that are open in the old one stay usable.
func (f *folderRoot) reopen() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for logs: %w", err)
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return fmt.Errorf("open the folder for logs: %w", err)
	}
	if old := f.root.Swap(root); old != nil {
		return old.Close()
	}
	return nil
}

// replaced reports whether the open folder no longer is the one at its path.
func (f *folderRoot) replaced() bool {
	current, err := os.Stat(f.dir)
	if err != nil {
		return true
	}
	open, err := f.root.Load().Stat(".")
	return err != nil || !os.SameFile(current, open)
}

func (f *folderRoot) MkdirAll(name string, perm fs.FileMode) error {
	return f.root.Load().MkdirAll(name, perm)
}

func (f *folderRoot) Open(name string) (*os.File, error) { return f.root.Load().Open(name) }

func (f *folderRoot) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return f.root.Load().OpenFile(name, flag, perm)
}

func (f *folderRoot) Lstat(name string) (fs.FileInfo, error) { return f.root.Load().Lstat(name) }

func (f *folderRoot) WriteFile(name string, data []byte, perm fs.FileMode) error {
	return f.root.Load().WriteFile(name, data, perm)
}

func (f *folderRoot) Remove(name string) error { return f.root.Load().Remove(name) }

func (f *folderRoot) RemoveAll(name string) error { return f.root.Load().RemoveAll(name) }

func (f *folderRoot) FS() fs.FS { return f.root.Load().FS() }

func (f *folderRoot) Close() error { return f.root.Load().Close() }
