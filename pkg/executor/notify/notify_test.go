package notify

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

const secret = "s3cret, and long enough to be one"

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

func message() park.Message {
	return park.Message{
		ID: "7", TaskID: "t-1", Status: park.Completed, Payload: []byte(`{"ok":true}`), Attempt: 2,
		CreatedAt: park.At(noon), Tenant: "acme", Key: "alice",
	}
}

// receive notifies a receiver that answers with status, and returns what it got.
func receive(t *testing.T, c Config, status int) (h http.Header, body []byte, err error) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h = r.Header
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
	}))
	defer s.Close()
	c.BaseURL, c.Now = s.URL+"/hook", func() time.Time { return noon }
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	err = n.Notify(t.Context(), "gpu", message())
	return h, body, err
}

func TestNotify(t *testing.T) {
	h, body, err := receive(t, Config{AuthHeader: "Bearer k", Secret: secret}, http.StatusAccepted)
	if err != nil {
		t.Fatal(err)
	}
	var got Notification
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Tenant != "acme" || got.MailboxKey != "alice" || got.PoolID != "gpu" || got.TaskID != "t-1" || string(got.Payload) != `{"ok":true}` {
		t.Errorf("%s", body)
	}
	if h.Get("Authorization") != "Bearer k" || h.Get(headerID) != "gpu/t-1/2/1796126400000000" || h.Get("Content-Type") != "application/json" {
		t.Errorf("%v", h)
	}
	if err := Verify(secret, h, body, noon.Add(time.Minute), 5*time.Minute); err != nil {
		t.Error(err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	h, body, err := receive(t, Config{Secret: secret}, http.StatusOK)
	if err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) http.Header {
		c := h.Clone()
		c.Set(name, value)
		return c
	}
	for name, err := range map[string]error{
		"another secret": Verify(strings.Repeat("other", 5), h, body, noon, time.Minute),
		"another body":   Verify(secret, h, append(body, ' '), noon, time.Minute),
		"another id":     Verify(secret, with(headerID, "gpu/t-2/2"), body, noon, time.Minute),
		"another time":   Verify(secret, with(headerTimestamp, "1764590401"), body, time.Unix(1764590401, 0), time.Minute),
		"no time":        Verify(secret, with(headerTimestamp, ""), body, noon, time.Minute),
		"no signature":   Verify(secret, with(headerSignature, ""), body, noon, time.Minute),
		"too old":        Verify(secret, h, body, noon.Add(2*time.Minute), time.Minute),
		"from later":     Verify(secret, h, body, noon.Add(-2*time.Minute), time.Minute),
		"no secret":      Verify("", h, body, noon, time.Minute),
		"an empty key":   Verify("whsec_", h, body, noon, time.Minute),
		"a bad secret":   Verify("whsec_?", h, body, noon, time.Minute),
	} {
		if err == nil {
			t.Errorf("%s passes", name)
		}
	}
	if err := Verify(secret, with(headerSignature, "v1,AAAA "+h.Get(headerSignature)), body, noon, time.Minute); err != nil {
		t.Errorf("one of several signatures: %v", err)
	}
}

// The example of the specification.
func TestSignatureOfTheSpecification(t *testing.T) {
	got := sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNotDelivered(t *testing.T) {
	for _, status := range []int{http.StatusFound, http.StatusGone, http.StatusTooManyRequests, http.StatusInternalServerError} {
		if _, _, err := receive(t, Config{}, status); err == nil {
			t.Errorf("%d counts as delivered", status)
		}
	}
	n, err := New(Config{BaseURL: "http://127.0.0.1:1/key-4711"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Notify(t.Context(), "gpu", message()); err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("a receiver that is not there: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{
		{},
		{BaseURL: "ftp://x"},
		{BaseURL: "http://"},
		{BaseURL: "http://x", Secret: "whsec_*"},
		{BaseURL: "http://x", Secret: "whsec_"},
		{BaseURL: "http://x", Secret: "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, MinSecret-1))},
		{BaseURL: "http://x", Secret: strings.Repeat("x", MinSecret-1)},
	} {
		if _, err := New(c); err == nil || c.Secret != "" && strings.Contains(err.Error(), c.Secret) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, enough := range []string{strings.Repeat("x", MinSecret), "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, MinSecret))} {
		if _, err := New(Config{BaseURL: "http://x", Secret: enough}); err != nil {
			t.Error(err)
		}
	}
}
