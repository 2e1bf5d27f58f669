package cmd

import (
	"fmt"
	"strings"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/daemon"
)

// endpoint is the address of the daemon.
type endpoint struct {
	url    string
	socket string
}

// local reports whether the daemon certainly is on this machine, and so sees the same files.
func (p endpoint) local() bool { return p.socket != "" }

// endpoint returns the address or socket that was given, else the socket of the user's own daemon. It tries no other
// address, because another user's daemon may answer there.
func (g *globals) endpoint() (endpoint, error) {
	if path, ok := strings.CutPrefix(g.server, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return endpoint{}, usagef("--server: unix: must be followed by the path of a socket")
		}
		return endpoint{socket: path}, nil
	}
	if g.server != "" {
		return endpoint{url: g.server}, nil
	}
	socket := g.getenv("PARKD_SOCKET")
	if socket == "" {
		socket = daemon.FindSocket(g.getenv)
	}
	switch socket {
	case "":
		return endpoint{}, noSocket("there is no home folder to look for its socket in")
	case config.Off:
		return endpoint{}, noSocket("PARKD_SOCKET is off")
	}
	return endpoint{socket: socket}, nil
}

func noSocket(why string) error {
	return &cliError{
		Code: exitNoDaemon, Name: "no_daemon", Err: fmt.Errorf("%w: %s", client.ErrUnreachable, why),
		Hint: "Name its address with --server or PARKD_SERVER, such as http://127.0.0.1:7275.",
	}
}

// connect returns a client of the daemon. It sends no request.
func (g *globals) connect() (*client.Client, endpoint, error) {
	at, err := g.endpoint()
	if err != nil {
		return nil, endpoint{}, err
	}
	c, err := client.New(client.Config{URL: at.url, Socket: at.socket, Token: g.token})
	if err != nil {
		return nil, endpoint{}, usage(err)
	}
	return c, at, nil
}
