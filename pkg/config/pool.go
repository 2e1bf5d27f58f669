package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

const poolNamePattern = `^[a-z0-9][a-z0-9_-]{0,62}$`

func poolName(s string) bool { return regexp.MustCompile(poolNamePattern).MatchString(s) }

// The size of a log file, and of the reply of an upstream, in bytes.
const (
	minLogBytes       = 4 << 10
	maxLogBytes       = 1 << 40
	defaultLogBytes   = 16 << 20
	maxReplyBytes     = 256 << 20
	defaultReplyBytes = 4 << 20
)

// minResultBytes is room for what the result of any command has beside its output.
const (
	minResultBytes = 1 << 10
	maxResultBytes = 16 << 20
)

func (c *Config) readPool(s section, name string) Pool {
	if !poolName(name) {
		s.r.fault(s.path, "a pool's name must have 1 to 63 characters of a-z 0-9 _ - and begin with a letter or digit, not %q", name)
	}
	p := Pool{
		Name:           name,
		Kind:           oneOf(s, "kind", park.Kinds(), park.Mixed),
		MaxUnits:       s.integer("max_units", required, 0, park.MaxUnits),
		MaxQueueDepth:  int(s.integer("max_queue_depth", required, 0, park.MaxQueueDepth)),
		DefaultTimeout: time.Duration(s.integer("default_timeout_secs", required, 0, park.MaxTimeoutSecs)) * time.Second,
		MaxResultBytes: s.integer("max_result_bytes", park.DefaultMaxResult, minResultBytes, maxResultBytes),
		Queue:          c.readBackend(s, "queue", park.File),
		Retry:          readRetry(s.section("retry")),
	}
	p.Mailbox = c.readMailbox(s, p.Queue)
	p.Runtime = oneOf(s, "runtime", []park.Runtime{park.Native, park.WebWorker, park.CloudWorker}, park.Native)
	p.Executor = readExecutor(s.section("executor"), p.Runtime)
	s.finish()
	return p
}

// readMailbox reads the name of a backend, or an object.
func (c *Config) readMailbox(s section, byDefault park.Backend) Mailbox {
	if _, object := s.tree["mailbox"].(map[string]any); !object {
		return Mailbox{Storage: oneOf(s, "mailbox", park.Backends(), byDefault)}
	}
	m := s.section("mailbox")
	key := "storage"
	if _, ok := m.get("type"); ok {
		if m.has("storage") {
			m.fault("type", "and storage are both given: give only one")
		}
		key = "type"
	}
	box := Mailbox{Storage: c.addDatabase(m, oneOf(m, key, park.Backends(), byDefault))}
	if m.has("notifier") {
		n := m.section("notifier")
		oneOf(n, "type", []string{"http"}, "http")
		box.Notifier = &Notifier{BaseURL: n.address("base_url"), AuthHeader: n.text("auth_header"), Secret: n.text("secret")}
		n.checkHeader("auth_header", "Authorization", box.Notifier.AuthHeader)
		n.finish()
	}
	m.finish()
	return box
}

// readBackend reads the name of a backend, or an object with its type and, for Postgres, the DSN of a separate
// database.
func (c *Config) readBackend(s section, key string, byDefault park.Backend) park.Backend {
	if _, object := s.tree[key].(map[string]any); !object {
		return oneOf(s, key, park.Backends(), byDefault)
	}
	o := s.section(key)
	defer o.finish()
	return c.addDatabase(o, oneOf(o, "type", park.Backends(), byDefault))
}

// withoutPassword removes the password from a DSN whose format it knows. The rest becomes the name of a database,
// which must not change. It is not for displaying a DSN.
func withoutPassword(dsn string) string {
	const gone = "***"
	if u, err := url.Parse(dsn); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), gone)
			return strings.Replace(u.String(), url.QueryEscape(gone), gone, 1)
		}
	}
	return regexp.MustCompile(`(?i)(password\s*=\s*)('[^']*'|\S+)`).ReplaceAllString(dsn, "${1}"+gone)
}

// addDatabase returns the backend of a separate database that an object configures together with the kind. The
// backend's name is made from the DSN without its password, so that the name stays when the password changes.
func (c *Config) addDatabase(o section, b park.Backend) park.Backend {
	dsn := o.text("dsn")
	switch {
	case dsn == "":
		return b
	case b != park.Postgres:
		o.fault("dsn", "is only for postgres, not for %s", b)
		return b
	}
	sum := sha256.Sum256([]byte(withoutPassword(dsn)))
	b = park.Backend("postgres:" + hex.EncodeToString(sum[:4]))
	c.Postgres.Others[b] = dsn
	c.Postgres.dsnPaths[b] = o.at("dsn")
	return b
}

func readRetry(s section) park.Retry {
	defer s.finish()
	retry := park.Retry{
		MaxAttempts: int(s.integer("max_attempts", 0, 1, 1000)),
		Backoff:     park.Duration(s.duration("backoff", 0, park.MaxDuration)),
	}
	if retry.Backoff > 0 && retry.MaxAttempts < 2 {
		s.fault("backoff", "is the wait before a second run: give max_attempts too, at least 2")
	}
	return retry
}

func readExecutor(s section, r park.Runtime) Executor {
	byDefault := ExecutorExec
	if r.Leased() {
		byDefault = ExecutorWorker
	}
	x := Executor{Type: oneOf(s, "type", executorTypes(), byDefault)}
	if r.Leased() != (x.Type == ExecutorWorker) && x.Type != "" {
		s.fault("type", "must be %s: the pool's runtime is %s", executorFor(r), r)
	}
	switch x.Type {
	case ExecutorExec:
		x.Command, x.WorkDir, x.Env = s.texts("command"), s.text("work_dir"), s.texts("env")
		x.KillGrace = s.duration("kill_grace", 5*time.Second, maxGrace)
		x.MaxLogBytes = s.integer("max_log_bytes", defaultLogBytes, minLogBytes, maxLogBytes)
		x.check(s)
	case ExecutorHTTP:
		x.URL, x.Headers = s.address("url"), s.headers("headers")
		x.MaxReplyBytes = s.integer("max_reply_bytes", defaultReplyBytes, 1, maxReplyBytes)
	case ExecutorSimulate, ExecutorWorker:
	}
	s.finish()
	return x
}

func executorFor(r park.Runtime) string {
	if r.Leased() {
		return "worker"
	}
	return "exec, http or simulate"
}

func (x *Executor) check(s section) {
	if s.has("command") && (len(x.Command) == 0 || x.Command[0] == "") {
		s.fault("command", "must begin with the program to run; leave it out if each task has its own command")
	}
	if x.WorkDir != "" && !filepath.IsAbs(x.WorkDir) {
		s.fault("work_dir", "must be an absolute path")
	}
	for i, v := range x.Env {
		if name, _, _ := strings.Cut(v, "="); name == "" || strings.HasPrefix(name, "PARKD_") {
			s.fault("env", "entry %d must be NAME or NAME=VALUE, and not a PARKD_ name", i+1)
		}
	}
}

// address reads a required URL.
func (s section) address(key string) string {
	text := s.text(key)
	if text == "" && s.has(key) {
		return "" // already reported
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || !validPort(u.Port()) {
		s.fault(key, "must be a URL such as http://127.0.0.1:8000/path, without a user")
	}
	return text
}

func validPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil
}

// headers reads the headers that the operator adds to requests.
func (s section) headers(key string) map[string]string {
	h := s.section(key)
	out := map[string]string{}
	same := map[string]string{} // by the spelling in which it is sent
	for _, name := range h.keys() {
		out[name] = h.text(name)
		sent := http.CanonicalHeaderKey(name)
		if first, twice := same[sent]; twice {
			h.fault(name, "is the same header as %s", first)
		}
		same[sent] = name
		h.checkHeader(name, sent, out[name])
	}
	return out
}

// checkHeader refuses headers that cannot be sent and headers that parkd sets itself.
func (s section) checkHeader(key, name, value string) {
	switch {
	case !isToken(name):
		s.fault(key, "is not a valid header name: use letters, digits and - only")
	case name == "Content-Length" || name == "Transfer-Encoding" || name == "Trailer" || name == "Connection" ||
		name == "Idempotency-Key" || strings.HasPrefix(name, "Parkd-"):
		s.fault(key, "cannot be set: parkd sets this header itself")
	}
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			s.fault(key, "must not contain line breaks or other control characters")
			return
		}
	}
}

// isToken reports whether text is an HTTP token, as the name of a header must be.
func isToken(text string) bool {
	for _, c := range []byte(text) {
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return text != ""
}

const minToken = 16

// readTokens reads the tokens of the file and of the environment: PARKD_TOKENS has tokens separated by commas.
func (c *Config) readTokens(s section, o Options) {
	for _, t := range s.sections("tokens") {
		c.Tokens = append(c.Tokens, readToken(t))
	}
	if s.r.hasFaults("tokens") {
		return
	}
	seen := map[[sha256.Size]byte]int{}
	for i, t := range c.Tokens {
		if first, twice := seen[t.SHA256]; twice {
			s.r.fault(fmt.Sprintf("tokens[%d]", i), "is the same token as tokens[%d]", first)
		}
		seen[t.SHA256] = i
	}
	for i, text := range strings.FieldsFunc(o.Env("PARKD_TOKENS"), func(r rune) bool { return r == ',' || r == ' ' }) {
		if len(text) < minToken {
			s.r.fault("PARKD_TOKENS", "token %d must have at least %d characters", i+1, minToken)
		}
		c.Tokens = append(c.Tokens, Token{Name: "environment", SHA256: sha256.Sum256([]byte(text))})
	}
}

func readToken(s section) Token {
	defer s.finish()
	t := Token{Name: s.text("name"), Tenant: s.text("tenant"), Role: TokenRole(s.text("role"))}
	if t.Role != "" && t.Role != RoleMetrics {
		s.fault("role", "must be %s, which allows only GET /metrics, or be left out", RoleMetrics)
	} else if t.Role != "" && t.Tenant != "" {
		s.fault("role", "%s covers whole pools: leave tenant out", t.Role)
	}
	if t.Tenant != "" && park.CheckName("tenant", t.Tenant) != nil {
		s.fault("tenant", "must be 1 to %d bytes of printable text", park.MaxNameLength)
	}
	plain, hashed := s.text("token"), s.text("token_sha256")
	if (plain == "") == (hashed == "") {
		s.fault("token", "give either token or token_sha256 (the SHA-256 of the token, in hex)")
		return t
	}
	if plain != "" {
		if len(plain) < minToken {
			s.fault("token", "must have at least %d characters", minToken)
		}
		t.SHA256 = sha256.Sum256([]byte(plain))
		return t
	}
	sum, err := hex.DecodeString(hashed)
	if err != nil || len(sum) != sha256.Size {
		s.fault("token_sha256", "must be 64 hexadecimal digits")
		return t
	}
	copy(t.SHA256[:], sum)
	return t
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
