package config

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// env makes an environment of NAME=VALUE; the home folder is never the user's own.
func env(t testing.TB, vars ...string) func(string) string {
	set := map[string]string{"HOME": t.TempDir()}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		set[name] = value
	}
	return func(name string) string { return set[name] }
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, name, text string, vars ...string) (*Config, error) {
	t.Helper()
	return Load(Options{File: write(t, name, text), Env: env(t, vars...)})
}

func TestWithoutFile(t *testing.T) {
	e := env(t)
	c, err := Load(Options{Env: e})
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(e("HOME"), ".local", "state", "parkd")
	if c.Source != "" || c.Listen != DefaultListen || c.Socket != filepath.Join(state, "parkd.sock") ||
		c.File.Path != filepath.Join(state, "parkd.db") || c.Audit != park.File || c.Retention != 7*24*time.Hour {
		t.Errorf("%+v", c)
	}
	if len(c.Pools) != 2 || c.Pools[0].Name != "default" || c.Pools[1].Name != "gpu" || c.Pools[1].Executor.Type != ExecutorExec {
		t.Errorf("%+v", c.Pools)
	}
	if got := c.Backends(); !slices.Equal(got, []park.Backend{park.File}) {
		t.Errorf("%v", got)
	}
}

// whole has every setting, in each of the formats.
func whole() map[string]string {
	return map[string]string{
		"c.json": `{"$schema":"x","listen":"127.0.0.1:1","socket":"off","audit":"postgres","retention":"2d","drain_timeout":"5s",
			"allowed_hosts":["parkd.example"],"backends":{"file":{"path":"/d/p.db"},"postgres":{"dsn":"postgres://u:secret@h/d"}},
			"tokens":[{"name":"n","tenant":"acme","token":"0123456789abcdef"}],
			"pools":{"gpu_1":{"kind":"gpuVram","max_units":24,"max_queue_depth":1000,"default_timeout_secs":600,"queue":"file",
				"mailbox":{"storage":"postgres","notifier":{"type":"http","base_url":"http://h/x","auth_header":"Bearer secret","secret":"secret-of-twenty-four-or-more"}},
				"runtime":"native","retry":{"max_attempts":3,"backoff":"2s"},
				"executor":{"type":"exec","command":["a","b"],"work_dir":"/w","env":["A=b"],"kill_grace":"1s","max_log_bytes":4096}},
			"llm":{"max_units":0,"max_queue_depth":0,"default_timeout_secs":0,"queue":"in_memory","mailbox":"in_memory",
				"executor":{"type":"http","url":"http://h:1/x","headers":{"X-Key":"secret"}}}}}`,
		"c.yaml": `
listen: 127.0.0.1:1
socket: "off"
audit: postgres
retention: 2d
drain_timeout: 5s
allowed_hosts: [parkd.example]
backends: {file: {path: /d/p.db}, postgres: {dsn: "postgres://u:secret@h/d"}}
tokens: [{name: n, tenant: acme, token: 0123456789abcdef}]
pools:
  gpu_1:
    kind: gpuVram
    max_units: 24
    max_queue_depth: 1000
    default_timeout_secs: 600
    queue: file
    mailbox: {storage: postgres, notifier: {type: http, base_url: "http://h/x", auth_header: Bearer secret, secret: secret-of-twenty-four-or-more}}
    runtime: native
    retry: {max_attempts: 3, backoff: 2s}
    executor: {type: exec, command: [a, b], work_dir: /w, env: [A=b], kill_grace: 1s, max_log_bytes: 4096}
  llm:
    max_units: 0
    max_queue_depth: 0
    default_timeout_secs: 0
    queue: in_memory
    mailbox: in_memory
    executor: {type: http, url: "http://h:1/x", headers: {X-Key: secret}}
`,
		"c.toml": `
listen = "127.0.0.1:1"
socket = "off"
audit = "postgres"
retention = "2d"
drain_timeout = "5s"
allowed_hosts = ["parkd.example"]
[backends]
file.path = "/d/p.db"
postgres.dsn = "postgres://u:secret@h/d"
[[tokens]]
name = "n"
tenant = "acme"
token = "0123456789abcdef"
[pools.gpu_1]
kind = "gpuVram"
max_units = 24
max_queue_depth = 1_000
default_timeout_secs = 600
queue = "file"
runtime = "native"
mailbox = {storage = "postgres", notifier = {type = "http", base_url = "http://h/x", auth_header = "Bearer secret", secret = "secret-of-twenty-four-or-more"}}
retry = {max_attempts = 3, backoff = "2s"}
executor = {type = "exec", command = ["a", "b"], work_dir = "/w", env = ["A=b"], kill_grace = "1s", max_log_bytes = 4096}
[pools.llm]
max_units = 0
max_queue_depth = 0
default_timeout_secs = 0
queue = "in_memory"
mailbox = "in_memory"
executor = {type = "http", url = "http://h:1/x", headers = {X-Key = "secret"}}
`,
	}
}

func TestFormatsSayTheSame(t *testing.T) {
	var first *Config
	for name, text := range whole() {
		c, err := load(t, name, text, "HOME=/home/u")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c.Source = ""
		if first == nil {
			first = c
		}
		if diff := cmp.Diff(first, c, cmp.AllowUnexported(Config{}, PostgresBackend{}, Setting{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	p := first.Pools[0]
	if p.Name != "gpu_1" || p.MaxUnits != 24 || p.Mailbox.Notifier.Secret != "secret-of-twenty-four-or-more" || p.Executor.KillGrace != time.Second ||
		p.Retry != (park.Retry{MaxAttempts: 3, Backoff: park.Duration(2 * time.Second)}) {
		t.Errorf("%+v", p)
	}
	if got := first.Pools[1].Executor.Headers; got["X-Key"] != "secret" {
		t.Errorf("headers lost their spelling: %v", got)
	}
	if s := p.Spec(); s.TakesCommands || s.ID != "gpu_1" || s.DefaultTimeout != 10*time.Minute {
		t.Errorf("%+v", s)
	}
}

func TestFaults(t *testing.T) {
	const good = `"max_units":1,"max_queue_depth":1,"default_timeout_secs":1`
	for name, c := range map[string]struct {
		text   string
		faults []string // path: part of the problem
	}{
		"all at once": {
			`{"listn":"x","pools":{"gpu":{"max_units":-1,"max_queue_depth":1.5,"queue":"redis","executor":{"type":"exec","comand":[]}}}}`,
			[]string{
				"listn: did you mean listen?", "pools.gpu.max_units: from 0 to", "pools.gpu.max_queue_depth: whole number",
				"pools.gpu.default_timeout_secs: required", "pools.gpu.queue: one of in_memory, file, postgres", "pools.gpu.executor.comand: did you mean command?",
			},
		},
		"types": {
			`{"listen":5,"retention":7,"allowed_hosts":"h","tokens":{},"pools":{"a":{` + good + `,"mailbox":1,"executor":"exec","retry":[]}}}`,
			[]string{
				"listen: must be a string", "retention: duration", "allowed_hosts: list", "tokens: list", "pools.a.mailbox: one of",
				"pools.a.executor: object", "pools.a.retry: object",
			},
		},
		"pool names":    {`{"pools":{"GPU":{` + good + `},"a.b":{` + good + `}}}`, []string{"pools.GPU: a-z", "pools.a.b: a-z"}},
		"no pools":      {`{"pools":{}}`, []string{"pools: at least one"}},
		"pools a list":  {`{"pools":[]}`, []string{"pools: object"}},
		"no DSN":        {`{"audit":"postgres"}`, []string{"backends.postgres.dsn: PARKD_POSTGRES_DSN"}},
		"open to all":   {`{"listen":"0.0.0.0:7275"}`, []string{"listen: tokens"}},
		"a bad address": {`{"listen":"7275"}`, []string{"listen: host:port"}},
		"a bad port":    {`{"listen":"127.0.0.1:70000"}`, []string{"listen: host:port"}},
		"both off":      {`{"listen":"off","socket":"off"}`, []string{"listen: both off"}},
		"tokens": {
			`{"tokens":[{"token":"short"},{"token":"0123456789abcdef","token_sha256":"00"},{},{"token_sha256":"xx"},{"tokn":"x"},5,{"role":"admin","token":"0123456789abcdef"},{"role":"metrics","tenant":"acme","token":"0123456789abcdef"}]}`,
			[]string{
				"tokens[0].token: 16 characters", "tokens[1].token: either", "tokens[2].token: either", "tokens[3].token_sha256: 64",
				"tokens[4].token: either", "tokens[4].tokn: did you mean token?", "tokens[5]: object",
				"tokens[6].role: metrics", "tokens[7].role: leave tenant out",
			},
		},
		"runtime and executor": {
			`{"pools":{"a":{` + good + `,"runtime":"web_worker","executor":{"type":"exec"}},"b":{` + good + `,"executor":{"type":"worker"}},"c":{` + good + `,"runtime":"gpu"}}}`,
			[]string{"pools.a.executor.type: must be worker", "pools.b.executor.type: exec, http or simulate", "pools.c.runtime: one of native"},
		},
		"executors": {
			`{"pools":{"a":{` + good + `,"executor":{"type":"http"}},"b":{` + good + `,"executor":{"type":"http","url":"h/x","command":[]}},
			"c":{` + good + `,"executor":{"command":[""],"work_dir":"x","env":["=1"],"kill_grace":"5","max_log_bytes":1}}}}`,
			[]string{
				"pools.a.executor.url: http://", "pools.b.executor.url: http://", "pools.b.executor.command: unknown setting", "pools.c.executor.command: program",
				"pools.c.executor.work_dir: absolute", "pools.c.executor.env: NAME", "pools.c.executor.kill_grace: unit", "pools.c.executor.max_log_bytes: from 4096",
			},
		},
		"notifier": {
			`{"pools":{"a":{` + good + `,"mailbox":{"storage":"file","notifier":{"type":"smtp","base_url":"x"}}}}}`,
			[]string{"pools.a.mailbox.notifier.type: one of http", "pools.a.mailbox.notifier.base_url: http://"},
		},
		"a key twice":   {`{"listen":"127.0.0.1:1","pools":{"a":{` + good + `,"max_units":2}}}`, []string{"c.json: pools.a.max_units is given twice"}},
		"not an object": {`[]`, []string{"c.json: object"}},
		"cut off":       {"{\n\"pools\":", []string{"c.json: line 2"}},
		"trailing":      {`{} {}`, []string{"c.json: after top-level value"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, "c.json", c.text)
			faults, ok := err.(Faults) //nolint:errorlint // Load promises this very type
			if !ok {
				t.Fatalf("%v", err)
			}
			for _, want := range c.faults {
				path, part, _ := strings.Cut(want, ": ")
				if !slices.ContainsFunc(faults, func(f Fault) bool { return strings.HasSuffix(f.Path, path) && strings.Contains(f.Problem, part) }) {
					t.Errorf("no fault says %q", want)
				}
			}
			if len(faults) != len(c.faults) || t.Failed() {
				t.Errorf("the faults are\n%v", err)
			}
		})
	}
}

// TestSmallest: these keys are enough.
func TestSmallest(t *testing.T) {
	c, err := load(t, "c.json", `{"pools":{"a-_9":{"max_units":0,"max_queue_depth":0,"default_timeout_secs":0},
		"w":{"max_units":1,"max_queue_depth":1,"default_timeout_secs":1,"runtime":"cloud_worker"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Pools[0]; p.Queue != park.File || p.Mailbox.Storage != park.File || p.Runtime != park.Native || !p.Spec().TakesCommands {
		t.Errorf("%+v", p)
	}
	if p := c.Pools[1]; p.Executor.Type != ExecutorWorker || !p.Spec().TakesCommands {
		t.Errorf("%+v", p)
	}
}

func TestPrecedence(t *testing.T) {
	file := write(t, "c.json", `{"listen":"127.0.0.1:1","socket":"/file","backends":{"file":{"path":"file.db"},"postgres":{"dsn":"file"}}}`)
	at := func(o Options, vars ...string) []string {
		t.Helper()
		o.Env = env(t, vars...)
		c, err := Load(o)
		if err != nil {
			t.Fatal(err)
		}
		return []string{c.Listen, c.Socket, c.File.Path, c.Postgres.DSN}
	}
	vars := []string{"PARKD_LISTEN=127.0.0.1:2", "PARKD_SOCKET=/env", "PARKD_DB=/env.db", "PARKD_POSTGRES_DSN=env"}
	inFile := []string{"127.0.0.1:1", "/file", filepath.Join(filepath.Dir(file), "file.db"), "file"}
	inEnv := []string{"127.0.0.1:2", "/env", "/env.db", "env"}
	byFlag := []string{"127.0.0.1:3", "/flag", "flag.db", "flag"}
	flags := Options{File: file, Listen: "127.0.0.1:3", Socket: "/flag", DB: "flag.db", DSN: "flag"}
	for name, c := range map[string]struct{ got, want []string }{
		"file":                         {at(Options{File: file}), inFile},
		"environment over file":        {at(Options{File: file}, vars...), inEnv},
		"flag over both":               {at(flags, vars...), byFlag},
		"file named by PARKD_CONFIG":   {at(Options{}, "PARKD_CONFIG="+file), inFile},
		"flag's file before the other": {at(Options{File: file}, "PARKD_CONFIG=/nowhere"), inFile},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	if _, err := Load(Options{Env: env(t, "PARKD_CONFIG=/nowhere")}); err == nil || !strings.Contains(err.Error(), "PARKD_CONFIG") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestUsersOwnFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "parkd"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "parkd", "scheduler-config.json")
	if err := os.WriteFile(file, []byte(`{"listen":"127.0.0.1:1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Options{Env: env(t, "XDG_CONFIG_HOME="+dir)})
	if err != nil || c.Source != file || c.Listen != "127.0.0.1:1" {
		t.Errorf("%+v %v", c, err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("scheduler-config.json", []byte(`{"listen":"127.0.0.1:2"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = Load(Options{Env: env(t, "XDG_CONFIG_HOME="+dir)})
	if err != nil || c.Source != "scheduler-config.json" || c.Listen != "127.0.0.1:2" {
		t.Errorf("beside the daemon: %+v %v", c, err)
	}
}

func TestTokensOfTheEnvironment(t *testing.T) {
	c, err := load(t, "c.json", `{"listen":"0.0.0.0:1"}`, "PARKD_TOKENS=0123456789abcdef, fedcba9876543210")
	if err != nil || len(c.Tokens) != 2 {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := load(t, "c.json", `{}`, "PARKD_TOKENS=short"); err == nil {
		t.Error("a short token is taken")
	}
}

func TestShow(t *testing.T) {
	c, err := Load(Options{File: write(t, "c.json", whole()["c.json"]), Listen: "127.0.0.1:9", Env: env(t, "PARKD_DB=/env.db")})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Setting{}
	for _, s := range c.Show(postgres.DescribeDSN) {
		got[s.Path] = s
		if strings.Contains(s.Value, "secret") || strings.Contains(s.Value, "0123456789abcdef") {
			t.Errorf("%+v gives a secret away", s)
		}
	}
	for path, want := range map[string][2]string{
		"listen":                              {"127.0.0.1:9", "flag --listen"},
		"backends.file.path":                  {"/env.db", "environment PARKD_DB"},
		"backends.postgres.dsn":               {"postgres://u:***@h/d", "file"},
		"retention":                           {"48h0m0s", "file"},
		"pools.llm.max_units":                 {"0", "file"},
		"pools.llm.runtime":                   {"native", "default"},
		"pools.gpu_1.executor.command":        {`["a","b"]`, "file"},
		"pools.gpu_1.mailbox.notifier.secret": {"***", "file"},
	} {
		if got[path].Value != want[0] || got[path].From != want[1] {
			t.Errorf("%+v, want %v", got[path], want)
		}
	}
}

// TestNamesOfDatabases: the name of a database of its own does not change with the password.
func TestNamesOfDatabases(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://u:p%40ss@h/d": "postgres://u:***@h/d", "postgres://h/d": "postgres://h/d",
		"host=h password=secret user=u": "host=h password=*** user=u", "password = 'a b' host=h": "password = *** host=h",
	} {
		if got := withoutPassword(dsn); got != want {
			t.Errorf("%s became %s", dsn, got)
		}
	}
}

// TestSamples: every sample, in every format, is right, and says the same in all.
func TestSamples(t *testing.T) {
	for _, name := range SampleNames() {
		var first *Config
		for _, format := range []string{"json", "yaml", "toml"} {
			b, err := Sample(name, format)
			if err != nil {
				t.Fatal(err)
			}
			c, err := load(t, "c."+format, string(b), "PARKD_POSTGRES_DSN=postgres://h/d", "HOME=/home/u")
			if err != nil {
				t.Errorf("%s.%s: %v", name, format, err)
				continue
			}
			if c.Source = ""; first == nil {
				first = c
			}
			if diff := cmp.Diff(first, c, cmp.AllowUnexported(Config{}, PostgresBackend{}, Setting{})); diff != "" {
				t.Errorf("%s.%s: %s", name, format, diff)
			}
		}
	}
	if _, err := Sample("nothing", "json"); err == nil {
		t.Error("a sample that is not there")
	}
	if _, err := Sample("dev", "xml"); err == nil {
		t.Error("a format that is not there")
	}
}

// TestSchemaKnowsWhatLoadKnows: each key of the schema is one that Load reads, and the other way round.
func TestSchemaKnowsWhatLoadKnows(t *testing.T) {
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../../configs/scheduler-config.schema.json")
	if err != nil || string(committed) != string(b) {
		t.Errorf("configs/scheduler-config.schema.json is stale (%v): sh .ci/generate", err)
	}
	var root jsonschema.Schema
	if err := json.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	keys := func(s *jsonschema.Schema) (all []string) {
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			all = append(all, p.Key)
		}
		slices.Sort(all)
		return all
	}
	at := func(s *jsonschema.Schema, path ...string) *jsonschema.Schema {
		for _, key := range path {
			s, _ = s.Properties.Get(key)
		}
		return s
	}
	pool := at(&root, "pools").AdditionalProperties
	mailbox := at(pool, "mailbox").OneOf[1]
	pools := func(body string) string {
		return `{"pools":{"a":{"max_units":1,"max_queue_depth":1,"default_timeout_secs":1,` + body + `}}}`
	}
	for name, c := range map[string]struct {
		text   string
		schema *jsonschema.Schema
	}{
		"file":     {`{"zzzzzz":1}`, &root},
		"backends": {`{"backends":{"zzzzzz":1}}`, at(&root, "backends")},
		"sqlite":   {`{"backends":{"file":{"zzzzzz":1}}}`, at(&root, "backends", "file")},
		"postgres": {`{"backends":{"postgres":{"zzzzzz":1}}}`, at(&root, "backends", "postgres")},
		"token":    {`{"tokens":[{"token":"0123456789abcdef","zzzzzz":1}]}`, at(&root, "tokens").Items},
		"pool":     {pools(`"zzzzzz":1`), pool},
		"retry":    {pools(`"retry":{"zzzzzz":1}`), at(pool, "retry")},
		"mailbox":  {pools(`"mailbox":{"zzzzzz":1,"notifier":{"base_url":"http://h"}}`), mailbox},
		"notifier": {pools(`"mailbox":{"notifier":{"base_url":"http://h","zzzzzz":1}}`), at(mailbox, "notifier")},
	} {
		_, err := load(t, "c.json", c.text)
		faults, _ := err.(Faults) //nolint:errorlint // Load promises this very type
		if len(faults) != 1 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, list, _ := strings.Cut(faults[0].Problem, "known settings: ")
		if got := strings.Split(list, ", "); !reflect.DeepEqual(got, keys(c.schema)) {
			t.Errorf("%s: Load knows %v, the schema %v", name, got, keys(c.schema))
		}
	}
	known := map[string]bool{"type": true}
	for _, kind := range []string{`"type":"exec"`, `"type":"http","url":"http://h"`} {
		_, err := load(t, "c.json", pools(`"executor":{`+kind+`,"zzzzzz":1}`))
		_, list, _ := strings.Cut(err.Error(), "known settings: ")
		for key := range strings.SplitSeq(list, ", ") {
			known[key] = true
		}
	}
	if got := slices.Sorted(maps.Keys(known)); !slices.Equal(got, keys(at(pool, "executor"))) {
		t.Errorf("executor: Load knows %v, the schema %v", got, keys(at(pool, "executor")))
	}
}

func FuzzLoad(f *testing.F) {
	for name, text := range whole() {
		f.Add(filepath.Ext(name), []byte(text))
	}
	f.Add(".yaml", []byte("1: 2\n? [a]\n: b\npools: {a: {max_units: 1e3}}"))
	f.Add(".toml", []byte("a = 2020-01-01T00:00:00Z\npools = 5"))
	f.Fuzz(func(t *testing.T, ext string, text []byte) {
		tree, err := parse(ext, text)
		if err != nil {
			return
		}
		r := &reader{}
		c := &Config{}
		c.read(section{r: r, tree: tree, known: map[string]bool{}}, Options{Env: func(string) string { return "" }})
		for _, f := range r.faults {
			if f.Problem == "" {
				t.Errorf("a fault without a word: %+v", f)
			}
		}
	})
}
