package command

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// numbered is the output of the command of [numbers].
func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "line %05d\n", i)
	}
	return b.String()
}

func numbers(to, attempt int) park.Assignment {
	a := shell(fmt.Sprintf("seq -f 'line %%05g' %d", to))
	a.Attempt = attempt
	return a
}

func readLog(t *testing.T, log *park.Log) string {
	t.Helper()
	defer log.Close()
	b, err := io.ReadAll(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLogFromOffset: a log tells its offset in the output of the run, and its bytes are those written from there on.
func TestLogFromOffset(t *testing.T) {
	d := newHarness(t, Config{MaxLogBytes: 1000})
	all := numbered(1, 500) // 5500 bytes in 6 parts, of which the last two are kept
	d.run(t.Context(), numbers(500, 1))
	d.run(t.Context(), numbers(10, 2))
	for _, follow := range []bool{false, true} {
		for offset, want := range map[int64]int64{0: 4000, 1: 4000, 3999: 4000, 4000: 4000, 4001: 4001, 4999: 4999, 5000: 5000, 5001: 5001, 5499: 5499, 5500: 5500} {
			ended := make(chan struct{})
			close(ended)
			log, err := d.Executor.Log(t.Context(), "gpu", "t-1", 1, park.LogQuery{Attempt: 1, Offset: offset, Follow: follow}, ended)
			if err != nil {
				t.Fatal(err)
			}
			if got := readLog(t, log); log.Attempt != 1 || log.Offset != want || got != all[want:] {
				t.Errorf("follow %t, from %d: attempt %d from %d, %d bytes %.12q", follow, offset, log.Attempt, log.Offset, len(got), got)
			}
		}
	}
}

// TestLogOfOneAttempt: the log of one attempt ends with the attempt; the log of a task goes on.
func TestLogOfOneAttempt(t *testing.T) {
	d := newHarness(t, Config{})
	d.run(t.Context(), numbers(5, 1))
	follow := func(q park.LogQuery, ended <-chan struct{}) *park.Log {
		t.Helper()
		log, err := d.Executor.Log(t.Context(), "gpu", "t-1", 1, q, ended)
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	ended := make(chan struct{})
	one, both := follow(park.LogQuery{Attempt: 1, Follow: true}, ended), follow(park.LogQuery{Follow: true}, ended)
	d.run(t.Context(), numbers(3, 2))
	if got := readLog(t, one); got != numbered(1, 5) {
		t.Errorf("attempt 1: %q", got)
	}
	close(ended)
	if got := readLog(t, both); got != numbered(1, 5)+numbered(1, 3) {
		t.Errorf("both: %q", got)
	}
}

// TestLogFallsBehind: a reader that follows an attempt too slowly is told where bytes are missing.
func TestLogFallsBehind(t *testing.T) {
	dir := t.TempDir()
	d := newHarness(t, Config{MaxLogBytes: 1000, Env: []string{"D=" + dir}})
	all := numbered(1, 500)
	first := make(chan *park.Log)
	ended := make(chan struct{})
	go func() {
		log, err := d.Executor.Log(t.Context(), "gpu", "t-1", 1, park.LogQuery{Attempt: 1, Follow: true}, ended)
		if err != nil {
			t.Error(err)
			log = nil
		}
		first <- log
	}()
	a := shell("seq -f 'line %05g' 10; until [ -e $D/go ]; do sleep 0.01; done; seq -f 'line %05g' 11 500")
	over := make(chan struct{})
	go func() {
		d.run(t.Context(), a)
		close(over)
	}()
	log := <-first
	if log == nil {
		return
	}
	defer log.Close()
	b := make([]byte, len(numbered(1, 10)))
	if _, err := io.ReadFull(log, b); err != nil || string(b) != numbered(1, 10) {
		t.Fatalf("%q, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-over
	got := string(b) + readLog(t, log)
	if got != all[:1000] {
		t.Errorf("before the gap: %d bytes, %.12q", len(got), got)
	}
	close(ended)
	again, err := d.Executor.Log(t.Context(), "gpu", "t-1", 1, park.LogQuery{Attempt: 1, Offset: 1000, Follow: true}, ended)
	if err != nil {
		t.Fatal(err)
	}
	if got := readLog(t, again); again.Offset != 4000 || got != all[4000:] {
		t.Errorf("after the gap: from %d, %d bytes", again.Offset, len(got))
	}
}
