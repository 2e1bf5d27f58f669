package cmd

import (
	"strings"

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

// place returns the place that was named, or those where a daemon on this machine listens by default. Which of
// these answers is seen with each connection: the daemon may be about to start.
func (g *globals) place() (place, error) {
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
	return place{socket: config.DefaultSocket(), url: defaultURL}, nil
}

// connect returns a client of the daemon. It does not speak to it yet.
func (g *globals) connect() (*client.Client, place, error) {
	at, err := g.place()
	if err != nil {
		return nil, place{}, err
	}
	c, err := client.New(client.Config{URL: at.url, Socket: at.socket, Token: g.token})
	if err != nil {
		return nil, place{}, usage(err)
	}
	return c, at, nil
}
