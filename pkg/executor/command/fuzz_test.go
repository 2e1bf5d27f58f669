package command

import (
	"bufio"
	"bytes"
	"testing"
)

// FuzzJob reads jobs.
func FuzzJob(f *testing.F) {
	j := &job{Command: []string{"true"}, Run: "r", Attempt: 1, payload: []byte("{}")}
	b, err := j.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{\"payloadBytes\":-1}\n"))
	f.Add([]byte("{\"payloadBytes\":99999999999}\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := readJob(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		again, err := j.encode()
		if err != nil {
			t.Fatal(err)
		}
		if k, err := readJob(bufio.NewReader(bytes.NewReader(again))); err != nil || !bytes.Equal(k.payload, j.payload) {
			t.Fatalf("%q is not read again: %v", again, err)
		}
	})
}

// FuzzReports reads the output of a shim, which may break off at any byte.
func FuzzReports(f *testing.F) {
	f.Add([]byte("{\"pid\":7}\n{\"over\":true,\"exitCode\":3,\"stdout\":\"aGVsbG8=\"}\n"))
	f.Add([]byte("panic: runtime error\n\ngoroutine 1 [running]:\n"))
	f.Add([]byte("{\"pid\":7}\n{\"over\":tr"))
	f.Fuzz(func(t *testing.T, b []byte) {
		last, noise := readReports(bytes.NewReader(b), func(pid int) {
			if pid <= 0 {
				t.Errorf("process %d has started", pid)
			}
		})
		if last != nil && !last.Over {
			t.Errorf("the last report is not the last: %+v", last)
		}
		if len(noise) > 4*maxOutput {
			t.Errorf("%d bytes of noise were kept", len(noise))
		}
	})
}
