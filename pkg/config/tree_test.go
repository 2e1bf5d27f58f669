package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFilesThatAreNone: what is no file, too large or too deep is refused at once, in every format.
func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{pipe: "regular file", dir: "regular file", os.DevNull: "regular file"} {
		for _, o := range []Options{{File: path, Env: env(t)}, {Env: env(t, "PARKD_CONFIG="+path)}} {
			if _, err := Load(o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	const many = 3 << 20
	for name, text := range map[string]string{
		"lists.json":   strings.Repeat("[", many),
		"objects.json": strings.Repeat(`{"a":`, many/5),
		"deep.json":    `{"a":` + strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting) + "}",
		"lists.yaml":   strings.Repeat("[", many),
		"objects.yaml": strings.Repeat("{a: ", many/4),
		"blocks.yaml":  strings.Repeat("- ", many/2),
		"lists.toml":   "a = " + strings.Repeat("[", many),
		"objects.toml": "a = " + strings.Repeat("{a = ", many/5),
		"long.json":    `{"listen":"` + strings.Repeat("x", maxFile) + `"}`,
	} {
		if _, err := load(t, name, text); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestBytesOfFiles: a mark of UTF-8 is no fault, what is not UTF-8 is one.
func TestBytesOfFiles(t *testing.T) {
	for name, text := range map[string]string{"c.json": `{"listen":"127.0.0.1:1"}`, "c.yaml": `listen: "127.0.0.1:1"`, "c.toml": `listen = "127.0.0.1:1"`} {
		c, err := load(t, name, "\xef\xbb\xbf"+text)
		if err != nil || c.Listen != "127.0.0.1:1" {
			t.Errorf("%s with a mark: %v", name, err)
		}
		if _, err := load(t, name, strings.Replace(text, "127", "\xff127", 1)); err == nil || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%s with a byte that is none: %v", name, err)
		}
	}
}

// TestEmptyIsNotLeftOut: what is given and says nothing is a fault, never the default.
func TestEmptyIsNotLeftOut(t *testing.T) {
	pool := func(body string) string { return fmt.Sprintf(`{"pools":{"a":{%s,%s}}}`, settings, body) }
	for text, place := range map[string]string{
		`{"listen":""}`: "listen", `{"socket":""}`: "socket", `{"listen":null}`: "listen",
		`{"backends":{"file":{"path":""}}}`:                                                                     "backends.file.path",
		`{"backends":{"postgres":{"dsn":""}}}`:                                                                  "backends.postgres.dsn",
		`{"allowed_hosts":[""]}`:                                                                                "allowed_hosts[0]",
		`{"tokens":[{"token":"0123456789abcdef","tenant":""}]}`:                                                 "tokens[0].tenant",
		`{"tokens":[{"token":"0123456789abcdef"},{"token":"0123456789abcdef"}]}`:                                "tokens[1]",
		`{"backends":{"postgres":{"dsn":"postgres://h/d"}},` + pool(`"queue":{"type":"postgres","dsn":""}`)[1:]: "pools.a.queue.dsn",
		pool(`"mailbox":{"notifier":{"base_url":"http://h","secret":""}}`):                                      "pools.a.mailbox.notifier.secret",
		pool(`"mailbox":{"notifier":{"base_url":"http://h","auth_header":""}}`):                                 "pools.a.mailbox.notifier.auth_header",
		pool(`"executor":{"command":[]}`):                                                                       "pools.a.executor.command",
		pool(`"executor":{"work_dir":""}`):                                                                      "pools.a.executor.work_dir",
		pool(`"executor":{"type":"http","url":""}`):                                                             "pools.a.executor.url",
		pool(`"executor":{"type":"http","url":"http://h","headers":{"":"x"}}`):                                  "pools.a.executor.headers.",
		pool(`"executor":{"type":"http","url":"http://h","headers":{"A B":"x"}}`):                               "pools.a.executor.headers.A B",
		pool(`"executor":{"type":"http","url":"http://h","headers":{"a":"x","A":"y"}}`):                         "pools.a.executor.headers.a",
		pool(`"executor":{"type":"http","url":"http://h","headers":{"parkd-pool":"x"}}`):                        "pools.a.executor.headers.parkd-pool",
		pool(`"executor":{"type":"http","url":"http://h:99999/"}`):                                              "pools.a.executor.url",
		pool(`"executor":{"type":"http","url":"http://:80/"}`):                                                  "pools.a.executor.url",
		pool(`"executor":{"command":["a\u0000b"]}`):                                                             "pools.a.executor.command[0]",
		pool(`"executor":{"kill_grace":"291y"}`):                                                                "pools.a.executor.kill_grace",
		pool(`"executor":{"kill_grace":"2562047h"}`):                                                            "pools.a.executor.kill_grace",
		pool(`"retry":{"backoff":"2s"}`):                                                                        "pools.a.retry.backoff",
		pool(`"retry":{"max_attempts":1,"backoff":"2s"}`):                                                       "pools.a.retry.backoff",
		`{"node_ttl":"2562047h"}`:                                                                               "node_ttl",
		`{"retention":"36501d"}`:                                                                                "retention",
	} {
		_, err := load(t, "c.json", text)
		faults, _ := err.(Faults) //nolint:errorlint // Load promises this very type
		if len(faults) != 1 || faults[0].Path != place {
			t.Errorf("%s: %v, want one fault of %s", text, err, place)
		}
	}
	if _, err := Load(Options{Pools: []string{}, Env: env(t)}); err == nil || !strings.Contains(err.Error(), "--pools") {
		t.Errorf("no pool at all: %v", err)
	}
	c, err := load(t, "c.json", pool(`"executor":{"kill_grace":"0s"}`))
	if err != nil || c.Pools[0].Executor.KillGrace != 0 {
		t.Errorf("no grace: %v", err)
	}
}
