package cmd

import (
	"fmt"
	"strings"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/daemon"
)

// place is where a daemon is looked for.
type place struct {
	url    string
	socket string
}

// local reports whether the daemon is on this machine for certain: it then sees the same files.
func (p place) local() bool { return p.socket != "" }

// place returns the place that was named, else the socket of the user's own daemon. No other address is tried: who answers
// there is somebody else's daemon.
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
	socket := g.getenv("PARKD_SOCKET")
	if socket == "" {
		socket = daemon.FindSocket(g.getenv)
	}
	switch socket {
	case "":
		return place{}, noSocket("there is no home folder to look for its socket in")
	case config.Off:
		return place{}, noSocket("PARKD_SOCKET is off")
	}
	return place{socket: socket}, nil
}

func noSocket(why string) error {
	return &exit{
		Code: exitNoDaemon, Name: "no_daemon", Err: fmt.Errorf("%w: %s", client.ErrUnreachable, why),
		Hint: "Name its address with --server or PARKD_SERVER, such as http://127.0.0.1:7275.",
	}
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
