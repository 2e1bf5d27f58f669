package cmd_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cutting PATH BYTES CUT GO is a proxy in front of the daemon, at the address $CUTTING. It cuts off the first response
// to a path that ends in PATH after BYTES bytes, or, if BYTES is first, after the first part. Before the client sees
// that, it creates the file CUT and waits for the file GO.
func cutting(ts *testscript.TestScript, _ bool, args []string) {
	at, err := url.Parse(ts.Getenv("URL"))
	ts.Check(err)
	most := 64 << 10
	if args[1] != "first" {
		most, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	var cut atomic.Bool
	proxy := &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0)}
	proxy.Rewrite = func(r *httputil.ProxyRequest) { r.SetURL(at) }
	proxy.ModifyResponse = func(r *http.Response) error {
		if strings.HasSuffix(r.Request.URL.Path, args[0]) && !cut.Swap(true) {
			r.Body = &cutBody{ReadCloser: r.Body, left: most, first: args[1] == "first", cut: ts.MkAbs(args[2]), goOn: ts.MkAbs(args[3])}
		}
		return nil
	}
	s := httptest.NewServer(proxy)
	ts.Defer(s.CloseClientConnections)
	ts.Setenv("CUTTING", s.URL)
}

type cutBody struct {
	io.ReadCloser
	left      int
	first     bool // cut after the first part
	cut, goOn string
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left > 0 {
		n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
		if b.left -= n; b.first {
			b.left = 0
		}
		return n, err
	}
	if err := os.WriteFile(b.cut, []byte("cut\n"), 0o600); err != nil {
		return 0, err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(b.goOn); err == nil {
			break
		}
	}
	return 0, errors.New("cut")
}
