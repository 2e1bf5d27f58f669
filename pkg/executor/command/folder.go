package command

import (
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
)

// folderRoot is the folder of all logs, as an [os.Root] that can be opened again after somebody has removed the folder.
type folderRoot struct {
	dir string
	at  atomic.Pointer[os.Root]
}

func openFolder(dir string) (*folderRoot, error) {
	f := &folderRoot{dir: dir}
	return f, f.reopen()
}

// reopen makes the folder if it is not there. Who works in the one that was open goes on with it.
func (f *folderRoot) reopen() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for logs: %w", err)
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return fmt.Errorf("open the folder for logs: %w", err)
	}
	if old := f.at.Swap(root); old != nil {
		return old.Close()
	}
	return nil
}

// gone reports whether the folder that is open is not the one of that name any more.
func (f *folderRoot) gone() bool {
	now, err := os.Stat(f.dir)
	if err != nil {
		return true
	}
	open, err := f.at.Load().Stat(".")
	return err != nil || !os.SameFile(now, open)
}

func (f *folderRoot) MkdirAll(name string, perm fs.FileMode) error {
	return f.at.Load().MkdirAll(name, perm)
}

func (f *folderRoot) Open(name string) (*os.File, error) { return f.at.Load().Open(name) }

func (f *folderRoot) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return f.at.Load().OpenFile(name, flag, perm)
}

func (f *folderRoot) Lstat(name string) (fs.FileInfo, error) { return f.at.Load().Lstat(name) }

func (f *folderRoot) WriteFile(name string, data []byte, perm fs.FileMode) error {
	return f.at.Load().WriteFile(name, data, perm)
}

func (f *folderRoot) Remove(name string) error { return f.at.Load().Remove(name) }

func (f *folderRoot) RemoveAll(name string) error { return f.at.Load().RemoveAll(name) }

func (f *folderRoot) FS() fs.FS { return f.at.Load().FS() }

func (f *folderRoot) Close() error { return f.at.Load().Close() }
