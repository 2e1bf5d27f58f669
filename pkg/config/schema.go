package config

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/invopop/jsonschema"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Schema returns the JSON Schema of the file, for editors. What concerns several settings at once only Load
// checks.
func Schema() ([]byte, error) {
	s := object("The configuration of parkd",
		prop("$schema", words("URL of this schema")),
		prop("listen", words("host:port to listen on, or off. An address beyond loopback requires tokens. Default "+DefaultListen)),
		prop("socket", words("Path of the unix socket, or off. Default: parkd.sock in your runtime or state folder")),
		prop("audit", backendSchema("Backend of the audit log. Default postgres if a queue uses it, else file")),
		prop("backends", object("Backends that store data",
			prop("file", object("SQLite", prop("path", words("Path of the file. A relative path starts at the folder of this configuration")))),
			prop("postgres", object("Postgres", prop("dsn", words("Such as postgres://user:password@host:5432/parking; PARKD_POSTGRES_DSN is a better place for it")),
				prop("notify", yesNo("Whether nodes notify each other of changes. Without notifications they poll every 200 ms. Default true")))),
		)),
		prop("node_ttl", span("How long a node on a shared Postgres may be without a heartbeat before other nodes take over its tasks. Use the same value on all nodes. Default 10s")),
		prop("retention", span("How long ended tasks, messages, events and logs are kept; 0s keeps them for ever. Default 7d")),
		prop("drain_timeout", span("How long a stopping daemon waits for running tasks. Default 30s")),
		prop("allowed_hosts", array("Further host names under which clients reach the daemon", words(""))),
		prop("tokens", array("Access tokens for TCP. Without tokens, only this machine may use TCP, and not for commands", tokenSchema())),
		prop("pools", &jsonschema.Schema{
			Type: "object", Description: "By name: 1 to 63 of a-z 0-9 _ -", MinProperties: new(uint64(1)),
			PropertyNames: &jsonschema.Schema{Pattern: poolNamePattern}, AdditionalProperties: poolSchema(),
		}),
	)
	s.Version = jsonschema.Version
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	return append(b, '\n'), nil
}

func tokenSchema() *jsonschema.Schema {
	return object("Give either token or token_sha256",
		prop("name", words("A name for people")),
		prop("tenant", words("The only tenant that the token has access to")),
		prop("role", oneWord("metrics allows only GET /metrics; not with tenant", RoleMetrics)),
		prop("token", words("At least 16 characters")),
		prop("token_sha256", words("SHA-256 of the token, in hex")),
	)
}

func poolSchema() *jsonschema.Schema {
	s := object("A pool",
		prop("kind", oneWord("What a unit is. Default mixed", park.Kinds()...)),
		prop("max_units", number("Capacity: units that running tasks may use together", 0, park.MaxUnits)),
		prop("max_queue_depth", number("Maximum number of parked tasks; 0: a task starts at once or is rejected", 0, park.MaxQueueDepth)),
		prop("default_timeout_secs", number("Run time limit of tasks that have none of their own; 0: no limit", 0, park.MaxTimeoutSecs)),
		prop("max_result_bytes", number("Maximum size of a task's result as JSON; a larger result fails the task. Default 1 MiB", minResultBytes, park.MaxResultLimit)),
		prop("queue", backendSchema("Backend of the queue. Default file")),
		prop("mailbox", mailboxSchema()),
		prop("runtime", oneWord("Who runs the tasks: this daemon (native) or workers. Default native", park.Native, park.WebWorker, park.CloudWorker)),
		prop("retry", object("For tasks that have none of their own",
			prop("max_attempts", number("Maximum number of runs of a task", 1, 1000)),
			prop("backoff", span("Wait before the second run; it doubles with each further run")),
		)),
		prop("executor", executorSchema()),
	)
	s.Required = []string{"max_units", "max_queue_depth", "default_timeout_secs"}
	return s
}

// backendSchema is a backend's name, or an object that names a Postgres database of its own.
func backendSchema(text string) *jsonschema.Schema {
	kind := oneWord(text, park.Backends()...)
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{kind, object("", prop("type", kind), prop("dsn", ownDatabase()))}}
}

func ownDatabase() *jsonschema.Schema {
	return words("postgres: a separate database. Default backends.postgres.dsn")
}

func yesNo(text string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "boolean", Description: text}
}

func mailboxSchema() *jsonschema.Schema {
	storage := oneWord("Backend of the mailbox. Default: that of the queue", park.Backends()...)
	notifier := object("Receives each message by HTTP, until it has answered with 2xx",
		prop("type", oneWord("", "http")),
		prop("base_url", words("URL to post to")),
		prop("auth_header", words("Value of the Authorization header")),
		prop("secret", words("Signs each request, as in Standard Webhooks")),
	)
	notifier.Required = []string{"base_url"}
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{storage, object("",
		prop("storage", storage), prop("type", storage), prop("dsn", ownDatabase()), prop("notifier", notifier))}}
}

func executorSchema() *jsonschema.Schema {
	return object("How a task is run",
		prop("type", oneWord("exec runs a command, http posts the payload, simulate only lets time pass, worker leaves tasks to workers. Default exec", executorTypes()...)),
		prop("command", array("exec: the command to run with the payload on standard input. Without it, each task has its own command", words(""))),
		prop("work_dir", words("exec: working directory of commands that have none of their own")),
		prop("env", array("exec: further environment variables of commands, NAME or NAME=VALUE", words(""))),
		prop("kill_grace", span("exec: time between TERM and KILL. Default 5s")),
		prop("max_log_bytes", number("exec: maximum size of a log file; the last two files are kept. Default 16 MiB", minLogBytes, maxLogBytes)),
		prop("url", words("http: URL to post to")),
		prop("max_reply_bytes", number("http: maximum size of a reply; max_result_bytes limits the stored result separately. Default 4 MiB", 1, maxReplyBytes)),
		prop("headers", &jsonschema.Schema{Type: "object", Description: "http: headers sent with each request", AdditionalProperties: words("")}),
	)
}

type namedSchema struct {
	name   string
	schema *jsonschema.Schema
}

func prop(name string, s *jsonschema.Schema) namedSchema { return namedSchema{name, s} }

func object(text string, props ...namedSchema) *jsonschema.Schema {
	s := &jsonschema.Schema{
		Type: "object", Description: text, Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema,
	}
	for _, p := range props {
		s.Properties.Set(p.name, p.schema)
	}
	return s
}

func array(text string, item *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Description: text, Items: item}
}

func words(text string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Description: text}
}

func span(text string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Description: text, Examples: []any{"30s", "10m", "7d"}}
}

func oneWord[T ~string](text string, all ...T) *jsonschema.Schema {
	s := words(text)
	for _, w := range all {
		s.Enum = append(s.Enum, string(w))
	}
	return s
}

func number(text string, least, most int64) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "integer", Description: text,
		Minimum: json.Number(strconv.FormatInt(least, 10)), Maximum: json.Number(strconv.FormatInt(most, 10)),
	}
}
