// Package notify sends messages to an HTTP address (webhooks).
//
// A request holds one message and is signed as Standard Webhooks specifies
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md), so that a receiver can
// verify it with any library for that. A message may be sent more than once, always with the same webhook-id; no other
// message has that id. A redirect is not followed and counts as not delivered. Each call is one POST on a connection of its
// own; the HTTP client repeats nothing.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Config is what a Notifier is made from. Only BaseURL is needed.
type Config struct {
	BaseURL    string
	AuthHeader string // value of the header Authorization; "" for none
	// Secret signs each request: any text, or whsec_ and base64, of at least [MinSecret] bytes. "" for no signature.
	Secret string
	// Timeout bounds one request. Default 10s.
	Timeout time.Duration
	Now     func() time.Time // default [time.Now]
}

const defaultTimeout = 10 * time.Second

// MinSecret is the least number of bytes of a secret, after decoding.
const MinSecret = 24

// Notifier sends messages.
type Notifier struct {
	cfg  Config
	http *http.Client
}

// New checks the configuration and returns a Notifier.
func New(c Config) (*Notifier, error) {
	u, err := url.Parse(c.BaseURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("base_url must be a URL such as https://example.org/hooks")
	}
	if err := CheckSecret(c.Secret); err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Notifier{cfg: c, http: &http.Client{
		Timeout: c.Timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: c.Timeout}).DialContext,
			TLSHandshakeTimeout: c.Timeout, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Notification is the body of a request: a message and its mailbox.
type Notification struct {
	Tenant     string `json:"tenant"`
	MailboxKey string `json:"mailboxKey"`
	park.Message
}

// Notify sends a message. It returns nil if the receiver answered with a 2xx. After an error it is not known whether the
// receiver has the message.
func (n *Notifier) Notify(ctx context.Context, pool string, m park.Message) error {
	m.PoolID = pool
	body, err := json.Marshal(Notification{Tenant: m.Tenant, MailboxKey: m.Key, Message: m})
	if err != nil {
		return fmt.Errorf("write the message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.cfg.BaseURL, bytes.NewReader(body))
	if err != nil {
		return errors.New("cannot build the request")
	}
	req.GetBody = nil // the caller repeats, not the HTTP client
	// A task id may be reused once the task is removed: the time tells the messages apart.
	n.setHeaders(req.Header, fmt.Sprintf("%s/%s/%d/%d", pool, m.TaskID, m.Attempt, m.CreatedAt.Micro()), body)
	resp, err := n.http.Do(req)
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the address may hold a secret
	}
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	defer resp.Body.Close()
	// Read to the end, so that the receiver sees that its answer was read.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("notify: the receiver answered %s", resp.Status)
	}
	return nil
}

// The headers of Standard Webhooks.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

func (n *Notifier) setHeaders(h http.Header, id string, body []byte) {
	timestamp := strconv.FormatInt(n.cfg.Now().Unix(), 10)
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "parkd")
	h.Set(headerID, id)
	h.Set(headerTimestamp, timestamp)
	if n.cfg.AuthHeader != "" {
		h.Set("Authorization", n.cfg.AuthHeader)
	}
	if n.cfg.Secret != "" {
		h.Set(headerSignature, sign(n.cfg.Secret, id, timestamp, body))
	}
}

// sign returns the signature of a request: HMAC-SHA256 over id.timestamp.body.
func sign(secret, id, timestamp string, body []byte) string {
	key, _ := decodeSecret(secret) // New and Verify have checked it
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// CheckSecret returns an error if a secret cannot be used to sign. "" is valid and means no signature.
func CheckSecret(secret string) error {
	if secret == "" {
		return nil
	}
	k, err := decodeSecret(secret)
	if err == nil && len(k) < MinSecret {
		err = fmt.Errorf("a secret must have at least %d bytes; base64 counts after decoding", MinSecret)
	}
	return err
}

func decodeSecret(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return []byte(secret), nil
	}
	k, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("a secret that begins with whsec_ must be base64 after the prefix")
	}
	return k, nil
}

// Verify returns an error unless a request was signed with secret within tolerance of now. It is for receivers; a message
// that is sent twice has the same webhook-id.
func Verify(secret string, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	if secret == "" {
		return errors.New("a secret is needed to check a signature")
	}
	if err := CheckSecret(secret); err != nil {
		return err
	}
	timestamp := h.Get(headerTimestamp)
	secs, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return errors.New("the request has no webhook-timestamp")
	}
	if age := now.Sub(time.Unix(secs, 0)); age > tolerance || age < -tolerance {
		return fmt.Errorf("the request was signed at %s, which is more than %s away from now", time.Unix(secs, 0).UTC().Format(time.RFC3339), tolerance)
	}
	want := sign(secret, h.Get(headerID), timestamp, body)
	for given := range strings.FieldsSeq(h.Get(headerSignature)) {
		if hmac.Equal([]byte(given), []byte(want)) {
			return nil
		}
	}
	return errors.New("the signature does not match the request")
}
