package config

import (
	"encoding/json"
	"testing"
)

// TestCommon: what nodes should have alike is all of a pool's executor and notifier but for the folders of the machine.
func TestCommon(t *testing.T) {
	text := func(p Pool) string {
		b, err := json.Marshal(p.Common())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	plain := text(Pool{Executor: Executor{Type: ExecutorExec}})
	for name, p := range map[string]Pool{
		"command":  {Executor: Executor{Type: ExecutorExec, Command: []string{"true"}}},
		"env":      {Executor: Executor{Type: ExecutorExec, Env: []string{"A=1"}}},
		"headers":  {Executor: Executor{Type: ExecutorExec, Headers: map[string]string{"A": "1"}}},
		"notifier": {Executor: Executor{Type: ExecutorExec}, Mailbox: Mailbox{Notifier: &Notifier{BaseURL: "http://h", Secret: "s"}}},
	} {
		if text(p) == plain {
			t.Errorf("%s makes no difference", name)
		}
	}
	if own := text(Pool{Idle: true, Executor: Executor{Type: ExecutorExec, WorkDir: "/srv"}}); own != plain {
		t.Errorf("what is of a node: %s, not %s", own, plain)
	}
}
