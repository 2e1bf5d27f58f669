package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

const settings = `"max_units":1,"max_queue_depth":1,"default_timeout_secs":1`

// TestFaultsKeepSecrets: a fault names the place of what is wrong and repeats nothing of it, for a secret in the wrong place
// is a fault too.
func TestFaultsKeepSecrets(t *testing.T) {
	pool := func(body string) string { return `{"pools":{"a":{` + settings + `,` + body + `}}}` }
	for name, c := range map[string]struct{ file, text, place string }{
		"tokens as text":             {"c.json", `{"tokens":["hunter2-hunter2-hunter2"]}`, "tokens[0]"},
		"a token as a number":        {"c.json", `{"tokens":[{"token":7777777777777777777}]}`, "tokens[0].token"},
		"a hash that is the token":   {"c.json", `{"tokens":[{"token_sha256":"hunter2-hunter2-hunter2"}]}`, "tokens[0].token_sha256"},
		"a tenant that is the token": {"c.json", `{"tokens":[{"token":"x","tenant":"hunter2\u0007"}]}`, "tokens[0].tenant"},
		"a DSN as the backend":       {"c.json", `{"backends":{"postgres":"postgres://u:hunter2@h/d"}}`, "backends.postgres"},
		"a DSN as the queue":         {"c.json", pool(`"queue":"postgres://u:hunter2@h/d"`), "pools.a.queue"},
		"a DSN as the audit log":     {"c.json", `{"audit":"postgres://u:hunter2@h/d"}`, "audit"},
		"a DSN to listen on":         {"c.json", `{"listen":"postgres://u:hunter2@h/d"}`, "listen"},
		"a DSN as a type":            {"c.json", pool(`"mailbox":{"storage":"postgres://u:hunter2@h/d"}`), "pools.a.mailbox.storage"},
		"a list of DSNs":             {"c.json", `{"backends":{"postgres":{"dsn":["postgres://u:hunter2@h/d"]}}}`, "backends.postgres.dsn"},
		"env as a text":              {"c.json", pool(`"executor":{"env":"KEY=hunter2"}`), "pools.a.executor.env"},
		"env without a name":         {"c.json", pool(`"executor":{"env":["=hunter2"]}`), "pools.a.executor.env"},
		"env of parkd's own":         {"c.json", pool(`"executor":{"env":["PARKD_TOKEN=hunter2"]}`), "pools.a.executor.env"},
		"a token in a bad address":   {"c.json", pool(`"executor":{"type":"http","url":"hts://h/x?token=hunter2"}`), "pools.a.executor.url"},
		"a user in an address":       {"c.json", pool(`"executor":{"type":"http","url":"http://u:hunter2@h/x"}`), "pools.a.executor.url"},
		"a header's value":           {"c.json", pool(`"executor":{"type":"http","url":"http://h","headers":{"X":"hunter2\n"}}`), "pools.a.executor.headers.X"},
		"a number as a header":       {"c.json", pool(`"executor":{"type":"http","url":"http://h","headers":{"X":7777777777}}`), "pools.a.executor.headers.X"},
		"a secret as the folder":     {"c.json", pool(`"executor":{"work_dir":"hunter2"}`), "pools.a.executor.work_dir"},
		"a secret as a duration":     {"c.json", `{"retention":"hunter2-hunter2"}`, "retention"},
		"a secret as the limit":      {"c.json", pool(`"retry":{"max_attempts":"hunter2"}`), "pools.a.retry.max_attempts"},
		"a name for the daemon":      {"c.json", `{"allowed_hosts":["http://u:hunter2@h/"]}`, "allowed_hosts[0]"},
		"YAML that is only text":     {"c.yaml", "hunter2-hunter2", "c.yaml"},
		"YAML with a bad type":       {"c.yaml", "tokens: !!int hunter2", "c.yaml"},
		"YAML with another mapping":  {"c.yaml", "a: 'hunter2': b", "c.yaml"},
		"YAML with a key twice":      {"c.yaml", "{hunter2-x: 1, hunter2-x: 2}", "c.yaml"},
		"YAML with a key as number":  {"c.yaml", "7777777: a", "c.yaml"},
		"TOML with a bare text":      {"c.toml", "token = hunter2", "c.toml"},
		"TOML with a bad text":       {"c.toml", "token = 'hunter2", "c.toml"},
		"JSON with a bare text":      {"c.json", `{"token":hunter2}`, "c.json"},
		"JSON with a bad escape":     {"c.json", `{"token":"\uhunter2"}`, "c.json"},
		"JSON with half a pair":      {"c.json", `{"token":"\uD8FFhunter2"}`, "c.json"},
		"JSON with half and a blank": {"c.json", `{"token":"\uD8FFhunt er2"}`, "c.json"},
		"JSON that is only text":     {"c.json", `"hunter2"`, "c.json"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.file, c.text)
			faults, ok := errors.AsType[Faults](err)
			if !ok {
				t.Fatalf("no fault is found: %v", err)
			}
			for _, f := range faults {
				if strings.Contains(f.Problem, "hunt") || strings.Contains(f.Problem, "77777") {
					t.Errorf("a secret is told: %v", f)
				}
			}
			if !strings.HasSuffix(faults[0].Path, c.place) {
				t.Errorf("the place is %s, not %s", faults[0].Path, c.place)
			}
		})
	}
}

// TestShowMasks checks that only what is known to be harmless is shown.
func TestShowMasks(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nowhere")
	const text = `{"backends":{"postgres":{"dsn":"host=h user=u dbname=d password='hunter2 \\'hunter2' sslmode=disable options='-c x=hunter2'"}},
		"tokens":[{"name":"n","tenant":"acme","token":"hunter2-hunter2-hunter2"}],
		"pools":{
		"a":{` + settings + `,"queue":{"type":"postgres","dsn":"postgres://u:hunter2@own/d"},
			"mailbox":{"storage":"postgres","notifier":{"base_url":"https://hooks.example/services/hunter2/x?token=hunter2&hunter2","auth_header":"Bearer hunter2","secret":"hunter2-hunter2-hunter2-hunter2"}},
			"executor":{"command":["/bin/serve","--port","8000","--api-key","hunterx","--api-key=hunter2","--model=llama","sh","-c","curl -H hunter2"],"env":["KEY=hunter2","PATH"]}},
		"b":{` + settings + `,"executor":{"type":"http","url":"http://h:8000/v1/completions?key=hunter2#hunter2","headers":{"X-Key":"hunter2"}}},
		"c":{` + settings + `,"executor":{"type":"http","url":"http://h/bot123:hunter2/send"}}}}`
	c, err := load(t, "c.json", text)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range c.Show(postgres.DescribeDSN) {
		got[s.Path] = s.Value
		if strings.Contains(s.Value, "hunter") {
			t.Errorf("%s is shown as %s", s.Path, s.Value)
		}
	}
	for path, want := range map[string]string{
		"backends.postgres.dsn":             "postgres://u:***@h/d?options=***",
		"tokens[0]":                         "n acme ***",
		"pools.a.mailbox.notifier.base_url": "https://hooks.example/***?token=***&***",
		"pools.a.executor.command":          `["/bin/serve","--port","8000","--api-key","***","--api-key=***","--model=llama","sh","-c","***"]`,
		"pools.a.executor.env":              `["KEY=***","PATH"]`,
		"pools.b.executor.url":              "http://h:8000/v1/completions?key=***",
		"pools.b.executor.headers.X-Key":    "***",
		"pools.c.executor.url":              "http://h/***",
	} {
		if got[path] != want {
			t.Errorf("%s is shown as %s, want %s", path, got[path], want)
		}
	}
}

// TestShowSaysWhence: only what stands in the file is said to.
func TestShowSaysWhence(t *testing.T) {
	c, err := load(t, "c.json", `{"backends":{"postgres":{"notify":true}},"pools":{"a":{`+settings+`,"mailbox":"in_memory","executor":{"kill_grace":"1s"}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range c.Show(postgres.DescribeDSN) {
		got[s.Path] = s.From
	}
	for path, want := range map[string]string{
		"backends.postgres.notify": "file", "pools.a.mailbox.storage": "file", "pools.a.executor.kill_grace": "file",
		"pools.a.executor.type": "default", "pools.a.retry.max_attempts": "default", "retention": "default",
	} {
		if got[path] != want {
			t.Errorf("%s is said to come from %s, want %s", path, got[path], want)
		}
	}
}
