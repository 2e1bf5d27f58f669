package park

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a submission.
const (
	MaxUnits       = 1 << 40 // the most a task may cost and a pool may hold, so that sums cannot wrap
	MaxTimeoutSecs = 10 * 365 * 24 * 3600
	MaxBatch       = 10_000
	MaxIDLength    = 128
	MaxNameLength  = 256 // of a tenant or a mailbox key, in bytes
	DefaultTenant  = "default"
)

// Units is a cost in a pool's units. On the wire it must be at least 1, and more than [MaxUnits] is a cost like any
// other that no pool has; the zero value means "not given".
type Units int64

// UnmarshalJSON implements [json.Unmarshaler].
func (u *Units) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || n < 1 {
		return fmt.Errorf("units must be a whole number from 1 to %d, not %s", int64(MaxUnits), cut(string(b)))
	}
	*u = Units(n) // of a larger number, the largest
	return nil
}

// Seconds is a whole number of seconds. On the wire it must be at least 1; the zero value means "not given".
type Seconds int64

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Seconds) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	n, err := positive(b, MaxTimeoutSecs)
	if err != nil {
		return err
	}
	*s = Seconds(n)
	return nil
}

func positive(b []byte, most int64) (int64, error) {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("must be a whole number from 1 to %d, not %s", most, cut(string(b)))
	}
	return n, nil
}

// Cost is what a task takes from its pool while it runs.
type Cost struct {
	Kind  Kind  `json:"kind,omitempty"`
	Units Units `json:"units,omitempty"`
}

// MailboxRef addresses a mailbox in a submission: a key, and perhaps the tenant that goes with it.
// On the wire it is a string or {"tenant","userId","sessionId"}, which stands for the key userId or userId:sessionId. A
// colon in one of these two would make two mailboxes one, and is refused.
type MailboxRef struct {
	Tenant string
	Key    string
}

// IsZero reports whether no mailbox is named.
func (m MailboxRef) IsZero() bool { return m == MailboxRef{} }

// MarshalJSON implements [json.Marshaler].
func (m MailboxRef) MarshalJSON() ([]byte, error) {
	if m.Tenant == "" {
		return json.Marshal(m.Key)
	}
	o := mailboxObject{Tenant: m.Tenant}
	o.UserID, o.SessionID, _ = strings.Cut(m.Key, mailboxSeparator)
	if key, err := o.key(); err != nil || key != m.Key {
		return nil, fmt.Errorf("cannot encode the mailbox key %q together with its tenant: set the tenant of the submission instead", cut(m.Key))
	}
	return json.Marshal(o)
}

// mailboxSeparator stands between the parts of a key.
const mailboxSeparator = ":"

type mailboxObject struct {
	Tenant    string `json:"tenant,omitempty"`
	UserID    string `json:"userId"`
	SessionID string `json:"sessionId,omitempty"`
}

// key returns the key that the object stands for.
func (o *mailboxObject) key() (string, error) {
	switch {
	case o.UserID == "":
		return "", errors.New("mailboxKey needs a userId")
	case strings.Contains(o.UserID, mailboxSeparator):
		return "", fmt.Errorf("mailboxKey must not have a colon in its userId, because a colon separates userId from sessionId: %q", cut(o.UserID))
	case strings.Contains(o.SessionID, mailboxSeparator):
		return "", fmt.Errorf("mailboxKey must not have a colon in its sessionId, because a colon separates userId from sessionId: %q", cut(o.SessionID))
	case o.SessionID == "":
		return o.UserID, nil
	}
	return o.UserID + mailboxSeparator + o.SessionID, nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (m *MailboxRef) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if n := len(b); n > 2 && b[0] == '"' && bytes.IndexByte(b, '\\') < 0 && utf8.Valid(b) {
		*m = MailboxRef{Key: string(b[1 : n-1])} // nearly all are such
		return nil
	}
	if err := json.Unmarshal(b, &m.Key); err == nil && m.Key != "" {
		m.Tenant = ""
		return nil
	}
	var o mailboxObject
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil || o.UserID == "" {
		return errors.New(`mailboxKey must be a non-empty string, or {"tenant","userId","sessionId"} with a userId`)
	}
	key, err := o.key()
	if err != nil {
		return err
	}
	m.Tenant, m.Key = o.Tenant, key
	return nil
}

// Retry says how often a task may run and how long it rests between runs.
type Retry struct {
	// MaxAttempts bounds the runs that count: failures of the task itself and lost leases. 0 means one run
	// for a failure of its own and no bound for lost leases. The loss of a node never counts.
	MaxAttempts int `json:"maxAttempts,omitempty"`
	// Backoff is the rest before the second run; it doubles with each further one, up to an hour.
	Backoff Duration `json:"backoff,omitempty"`
}

// Submission is one task as a client asks for it. Every field is optional.
type Submission struct {
	TaskID       string          `json:"taskId,omitempty"`
	Tenant       string          `json:"tenant,omitempty"`
	Priority     Priority        `json:"priority,omitempty"`
	ResourceCost Cost            `json:"resourceCost,omitzero"`
	Deadline     Time            `json:"deadline,omitzero"`
	TimeoutSecs  Seconds         `json:"timeoutSecs,omitempty"`
	MailboxKey   MailboxRef      `json:"mailboxKey,omitzero"`
	Payload      json.RawMessage `json:"payload,omitempty"`
	Command      []string        `json:"command,omitempty"`
	WorkDir      string          `json:"workDir,omitempty"` // where the command runs; only together with a command
	Retry        Retry           `json:"retry,omitzero"`
	CreatedAt    Time            `json:"createdAt,omitzero"` // the client's own time, for its own use
	// OwnIDs says that whoever submits is bound to the tenant, so that it is not to notice which ids others use: where
	// another tenant has the id, the task is kept under [TenantTaskID]. No client can set it.
	OwnIDs bool `json:"-"`
}

// Normalize fills the tenant and checks what can be checked without knowing the pool. Its error is an
// InvalidRequest that names the field. It may be called more than once.
func (s *Submission) Normalize() error {
	if s.MailboxKey.Tenant != "" {
		if s.Tenant != "" && s.Tenant != s.MailboxKey.Tenant {
			return Errorf(InvalidRequest, "tenant is %q but mailboxKey.tenant is %q: give only one of them, or make them equal", s.Tenant, s.MailboxKey.Tenant)
		}
		s.Tenant, s.MailboxKey.Tenant = s.MailboxKey.Tenant, ""
	}
	if s.Tenant == "" {
		s.Tenant = DefaultTenant
	}
	if s.TaskID != "" && !ValidTaskID(s.TaskID) {
		return Errorf(InvalidRequest, "taskId must be 1 to %d characters of A-Z a-z 0-9 . _ : -, not %q", MaxIDLength, cut(s.TaskID))
	}
	if err := CheckName("tenant", s.Tenant); err != nil {
		return err
	}
	if s.MailboxKey.Key != "" {
		if err := CheckName("mailboxKey", s.MailboxKey.Key); err != nil {
			return err
		}
	}
	return s.checkNumbers()
}

func (s *Submission) checkNumbers() error {
	switch {
	case s.ResourceCost.Units < 0:
		return Errorf(InvalidRequest, "resourceCost.units must be from 1 to %d, not %d", int64(MaxUnits), s.ResourceCost.Units)
	case s.TimeoutSecs < 0 || s.TimeoutSecs > MaxTimeoutSecs:
		return Errorf(InvalidRequest, "timeoutSecs must be from 1 to %d, not %d", MaxTimeoutSecs, s.TimeoutSecs)
	case s.Retry.MaxAttempts < 0 || s.Retry.MaxAttempts > 1000:
		return Errorf(InvalidRequest, "retry.maxAttempts must be from 1 to 1000, not %d", s.Retry.MaxAttempts)
	case s.Priority < Low || s.Priority > Critical:
		return Errorf(InvalidRequest, "priority must be one of low, normal, high, critical")
	case len(s.Command) > 0 && s.Command[0] == "":
		return Errorf(InvalidRequest, "command[0] must name a program")
	case !isText(s.WorkDir):
		return Errorf(InvalidRequest, "workDir must be UTF-8 text without NUL, not %q", cut(s.WorkDir))
	case s.WorkDir != "" && len(s.Command) == 0:
		return Errorf(InvalidRequest, "workDir needs a command")
	}
	for i, arg := range s.Command {
		if !isText(arg) {
			return Errorf(InvalidRequest, "command[%d] must be UTF-8 text without NUL, not %q", i, cut(arg))
		}
	}
	return nil
}

// isText reports whether a command gets s unchanged: JSON and the databases carry only UTF-8, and a command line no
// NUL.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// Digest returns a number that is the same for two submissions of the same content; createdAt does not count.
// It is never 0.
func (s *Submission) Digest() uint64 {
	b := make([]byte, 0, 512)
	text := func(t string) { b = append(binary.AppendUvarint(b, uint64(len(t))), t...) }
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	text(s.TaskID)
	text(s.Tenant)
	number(int64(s.Priority))
	text(string(s.ResourceCost.Kind))
	number(int64(s.ResourceCost.Units))
	number(s.Deadline.Micro())
	number(int64(s.TimeoutSecs))
	text(s.MailboxKey.Tenant)
	text(s.MailboxKey.Key)
	number(int64(len(s.Command)))
	for _, arg := range s.Command {
		text(arg)
	}
	text(s.WorkDir)
	number(int64(s.Retry.MaxAttempts))
	number(int64(s.Retry.Backoff))
	sum := sha256.Sum256(appendCompact(b, s.Payload))
	return max(1, binary.LittleEndian.Uint64(sum[:]))
}

// appendCompact appends JSON without the spaces between its parts.
func appendCompact(to, j []byte) []byte {
	quoted, from := false, 0
	for i := 0; i < len(j); i++ {
		switch c := j[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			to, from = append(to, j[from:i]...), i+1
		}
	}
	return append(to, j[min(from, len(j)):]...)
}

// ValidTaskID reports whether id can name a task.
func ValidTaskID(id string) bool {
	if id == "" || len(id) > MaxIDLength {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// CheckName refuses a tenant or mailbox key that is empty, too long or not printable.
func CheckName(field, s string) error {
	bad := s == "" || len(s) > MaxNameLength || !utf8.ValidString(s)
	for _, r := range s {
		bad = bad || !unicode.IsPrint(r)
	}
	if bad {
		return Errorf(InvalidRequest, "%s must be 1 to %d bytes of printable text, not %q", field, MaxNameLength, cut(s))
	}
	return nil
}

// maxQuote is how many bytes of what came from outside a message quotes.
const maxQuote = 60

func cut(s string) string { return Cut(s, maxQuote) }

// Cut returns s if it has at most most bytes. Otherwise it returns at most most bytes of its beginning and an
// ellipsis. It does not split a rune of valid UTF-8.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && most-end < utf8.UTFMax-1 && !utf8.RuneStart(s[end]) {
		end--
	}
	if !utf8.RuneStart(s[end]) {
		end = most // no text: there is no rune to keep whole
	}
	return s[:end] + "…"
}
