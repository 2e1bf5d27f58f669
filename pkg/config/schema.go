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
		prop("$schema", words("Address of this schema")),
		prop("listen", words("host:port to listen on, or off; beyond loopback only with tokens. Default "+DefaultListen)),
		prop("socket", words("Path of the unix socket, or off. Default: parkd.sock in your runtime or state folder")),
		prop("audit", backendSchema("Where the audit log is kept. Default postgres where a queue is, else file")),
		prop("backends", object("Where data is kept",
			prop("file", object("SQLite", prop("path", words("The file; from the folder of this configuration, if it is relative")))),
			prop("postgres", object("Postgres", prop("dsn", words("Such as postgres://user:password@host:5432/parking; better given as PARKD_POSTGRES_DSN")),
				prop("notify", yesNo("Whether nodes tell each other at once what they did; without, they look every 200 ms. Default true")))),
		)),
		prop("node_ttl", span("How long a node that shares a Postgres may be silent before the others take over what it runs. The same on all nodes. Default 10s")),
		prop("retention", span("How long ended tasks, messages, events and logs are kept; 0s: for ever. Default 7d")),
		prop("drain_timeout", span("How long a daemon that is told to stop waits for what runs. Default 30s")),
		prop("allowed_hosts", array("Further names under which requests may address the daemon", words(""))),
		prop("tokens", array("Who may use the daemon over TCP; without any, only from this machine and without commands", tokenSchema())),
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
	return object("Give token or token_sha256",
		prop("name", words("For people")),
		prop("tenant", words("The only tenant that the bearer sees")),
		prop("role", oneWord("metrics opens GET /metrics and nothing else; without tenant", RoleMetrics)),
		prop("token", words("At least 16 characters")),
		prop("token_sha256", words("SHA-256 of the token, in hex")),
	)
}

func poolSchema() *jsonschema.Schema {
	s := object("A pool",
		prop("kind", oneWord("What a unit is. Default mixed", park.Kinds()...)),
		prop("max_units", number("Units that running tasks may take together", 0, park.MaxUnits)),
		prop("max_queue_depth", number("Tasks that may be parked; 0: start now or be rejected", 0, park.MaxQueueDepth)),
		prop("default_timeout_secs", number("Run time limit of tasks that bring none; 0: none", 0, park.MaxTimeoutSecs)),
		prop("max_result_bytes", number("Size of a task's result as JSON; a larger one fails its task. Default 1 MiB", minResultBytes, park.MaxResultLimit)),
		prop("queue", backendSchema("Where tasks are kept. Default file")),
		prop("mailbox", mailboxSchema()),
		prop("runtime", oneWord("Who does the work: this daemon, or workers. Default native", park.Native, park.WebWorker, park.CloudWorker)),
		prop("retry", object("For tasks that bring none of their own",
			prop("max_attempts", number("Runs before a task has failed", 1, 1000)),
			prop("backoff", span("Rest before the second run; it doubles with each further one")),
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
	return words("postgres: a database of its own. Default backends.postgres.dsn")
}

func yesNo(text string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "boolean", Description: text}
}

func mailboxSchema() *jsonschema.Schema {
	storage := oneWord("Where messages are kept. Default: where the queue is", park.Backends()...)
	notifier := object("Is told of each message, until it has answered with a 2xx",
		prop("type", oneWord("", "http")),
		prop("base_url", words("Where to post")),
		prop("auth_header", words("Value of the header Authorization")),
		prop("secret", words("Signs each request, as Standard Webhooks says")),
	)
	notifier.Required = []string{"base_url"}
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{storage, object("",
		prop("storage", storage), prop("type", storage), prop("dsn", ownDatabase()), prop("notifier", notifier))}}
}

func executorSchema() *jsonschema.Schema {
	return object("What a start does",
		prop("type", oneWord("exec runs a command, http posts the payload, simulate passes time, worker waits for a worker. Default exec", executorTypes()...)),
		prop("command", array("exec: the command to run with the payload on standard input; without it each task brings its own", words(""))),
		prop("work_dir", words("exec: where commands run that bring no folder of their own")),
		prop("env", array("exec: further variables of commands, NAME or NAME=VALUE", words(""))),
		prop("kill_grace", span("exec: time between TERM and KILL. Default 5s")),
		prop("max_log_bytes", number("exec: size of a log file; the last two are kept. Default 16 MiB", minLogBytes, maxLogBytes)),
		prop("url", words("http: where to post")),
		prop("max_reply_bytes", number("http: the longest reply that is taken; what is stored of it is bounded apart. Default 4 MiB", 1, maxReplyBytes)),
		prop("headers", &jsonschema.Schema{Type: "object", Description: "http: sent with each request", AdditionalProperties: words("")}),
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
