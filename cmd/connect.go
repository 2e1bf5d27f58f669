package cmd

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/config"
)

// defaultURL is where a daemon listens that was not told otherwise.
const defaultURL = "http://127.0.0.1:7275"

// place is where a daemon is looked for.
type place struct {
	url    string
	socket string
}

// local reports whether the daemon is on this machine for certain: it then sees the same files.
func (p place) local() bool { return p.socket != "" }

// place returns the place that was named, or the socket of a daemon on this machine, or the usual address.
func (g *globals) place(ctx context.Context) (place, error) {
	if path, ok := strings.CutPrefix(g.server, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return place{}, usagef("--server: unix: must be followed by the path of a socket")
		}
		return place{socket: path}, nil
	}
	if g.server != "" {
		return place{url: g.server}, nil
	}
	if socket := config.DefaultSocket(); answers(ctx, socket) {
		return place{socket: socket}, nil
	}
	return place{url: defaultURL}, nil
}

// answers reports whether somebody listens on the socket: the file alone may be that of a daemon that was killed.
func answers(ctx context.Context, socket string) bool {
	if socket == "" {
		return false
	}
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// connect returns a client of the daemon. It does not speak to it yet.
func (g *globals) connect(ctx context.Context) (*client.Client, place, error) {
	at, err := g.place(ctx)
	if err != nil {
		return nil, place{}, err
	}
	c, err := client.New(client.Config{URL: at.url, Socket: at.socket, Token: g.token})
	if err != nil {
		return nil, place{}, usage(err)
	}
	return c, at, nil
}
