package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/park"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"plain", "hello, wörld 日本 👍\n\tx", "hello, wörld 日本 👍\n\tx"},
		{"colour", "\x1b[1;31mred\x1b[0m", "red"},
		{"cursor", "a\x1b[2J\x1b[Hb", "ab"},
		{"title", "a\x1b]0;evil\x07b", "ab"},
		{"clipboard", "a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"},
		{"link", "\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"},
		{"dcs", "a\x1bP1$r0m\x1b\\b", "ab"},
		{"charset", "a\x1b(0b", "ab"},
		{"reset", "a\x1bcb", "ab"},
		{"eight bit csi", "a\u009b31mb", "ab"},
		{"eight bit osc", "a\u009d0;x\u009cb", "ab"},
		{"raw eight bit", "a\x9b31mb", "a\ufffd31mb"},
		{"controls", "a\x00\x08\x7fb\x0b\x0c", "ab"},
		{"bidi", "user\u202etxt.exe\u2066", "usertxt.exe"},
		{"zero width", "a\u200bb\u2060c\ufeff", "abc"},
		{"tags", "a\U000e0041b", "ab"},
		{"line separator", "a\u2028b", "ab"},
		{"crlf", "a\r\nb\r\n", "a\nb\n"},
		{"overwrite", "10%\r20%\rdone", "10%\n20%\ndone"},
		{"open string ends with its line", "a\x1b]0;never closed\nnext", "a\nnext"},
		{"broken csi", "a\x1b[12\nb", "a\nb"},
		{"nested", "a\x1b\x1b[31mb", "ab"},
		{"cut rune", "a\xe6\x97", "a\ufffd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := clean(c.in); got != c.want {
				t.Errorf("clean(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func TestCleanLineStaysOnOneLine(t *testing.T) {
	t.Parallel()
	if got, want := cleanLine("a\nb\t\tc\r\n"), "a b c"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestErrorsAreClean: the error of a daemon contains no control sequences, in any part and any format.
func TestErrorsAreClean(t *testing.T) {
	const trick = "\x1b]0;title\x07\x9b2J\u202e"
	e := &park.Error{Code: "queue_full" + trick + "\n", Detail: "full" + trick}
	for _, f := range []format{asTable, asWide, asJSON, asNDJSON, asID} {
		var b bytes.Buffer
		g := &globals{err: &b, output: f}
		g.report(e)
		if i := strings.IndexFunc(b.String(), isHidden); i >= 0 || !strings.Contains(b.String(), "queue_full") || !utf8.Valid(b.Bytes()) {
			t.Errorf("%s: %q", f, b.String())
		}
	}
}

// pages returns as many events as fit into a response.
type pages struct {
	park.Service
	fit int
}

func (p pages) Audit(_ context.Context, q park.AuditQuery) (park.EventPage, error) {
	at, _ := strconv.Atoi(q.Cursor)
	if q.Limit > p.fit {
		return park.EventPage{}, client.ErrTooLarge
	}
	var page park.EventPage
	for range min(q.Limit, 10-at) {
		at++
		page.Events = append(page.Events, park.Event{EventID: strconv.Itoa(at)})
	}
	if at < 10 {
		page.Next = strconv.Itoa(at)
	}
	return page, nil
}

// TestFewerAtOnce: if responses are too large, the page size is reduced, down to one.
func TestFewerAtOnce(t *testing.T) {
	for fit, want := range map[int]int{1: 10, 3: 10, 5000: 10, 0: 0} {
		seen := 0
		err := eachEvent(t.Context(), pages{fit: fit}, park.AuditQuery{}, 0, func(park.Event) error {
			seen++
			return nil
		})
		if seen != want || (err != nil) != (want == 0) {
			t.Errorf("%d at once: saw %d of 10: %v", fit, seen, err)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31mred", "\x1b]0;t\x07x", "a\r\nb", "\u202e\x9b", "\xe6\x97"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, at int) {
		out := clean(string(in))
		if !utf8.ValidString(out) {
			t.Fatalf("bad UTF-8: %q", out)
		}
		for _, r := range out {
			if r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Fatalf("%U is left in %q", r, out)
			}
		}
		if again := clean(out); again != out {
			t.Fatalf("cleaned twice: %q, once: %q", again, out)
		}
		at = max(0, min(at, len(in)))
		var b bytes.Buffer
		w := &cleanWriter{w: &b}
		_, _ = w.Write(in[:at])
		_, _ = w.Write(in[at:])
		_ = w.Close()
		if b.String() != out {
			t.Fatalf("in two parts: %q, in one: %q", b.String(), out)
		}
	})
}

func FuzzCleanJSON(f *testing.F) {
	f.Add("a\u202eb\u009b\U000e0041\x7f")
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := json.Marshal(map[string]string{"text": s})
		if err != nil {
			t.Skip()
		}
		safe := cleanJSON(raw)
		if i := strings.IndexFunc(string(safe), isHidden); i >= 0 {
			t.Fatalf("something hidden is left at %d of %q", i, safe)
		}
		var a, b map[string]string
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(safe, &b); err != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%q became %q (%v)", a, b, err)
		}
	})
}
