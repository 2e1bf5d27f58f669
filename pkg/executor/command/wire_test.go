package command

import (
	"bufio"
	"bytes"
	"reflect"
	"testing"
)

// TestJobKeepsBytes: arguments, variables and paths reach the shim unchanged, UTF-8 or not.
func TestJobKeepsBytes(t *testing.T) {
	sent := &job{
		Command: []string{"touch", "a\xffb", "", "ü"}, WorkDir: "/tmp/\xfe", Env: []string{"RAW=\xe4"}, Run: "r", Attempt: 2,
		payload: []byte(`"x"`),
	}
	b, err := sent.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readJob(bufio.NewReader(bytes.NewReader(b)))
	if err != nil || !reflect.DeepEqual(got, sent) {
		t.Errorf("sent %+v, got %+v %v", sent, got, err)
	}
}
