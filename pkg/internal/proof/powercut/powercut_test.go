package powercut_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/proof/powercut"
)

// TestCut loses what was not flushed and keeps what was.
func TestCut(t *testing.T) {
	d, err := powercut.New(t.Context(), powercut.Small)
	if errors.Is(err, powercut.ErrAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	write := func(name string, flush bool) {
		f, err := os.Create(filepath.Join(d.Path(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("here"); err != nil {
			t.Fatal(err)
		}
		if flush {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("kept", true)
	write("lost", false)
	killed := false
	if err := d.Cut(t.Context(), func() { killed = true }); err != nil || !killed {
		t.Fatal(killed, err)
	}
	if b, err := os.ReadFile(filepath.Join(d.Path(), "kept")); err != nil || string(b) != "here" {
		t.Errorf("what was flushed is %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(d.Path(), "lost")); err == nil && string(b) == "here" {
		t.Error("what was not flushed is still there")
	}
}
