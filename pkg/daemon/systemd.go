package daemon

import (
	"log/slog"
	"net"
	"os"
)

// notifySystemd tells systemd the state of the service, if it has asked for it (Type=notify). A name that begins with @
// is an abstract socket; package net uses the same notation.
func notifySystemd(log *slog.Logger, state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte(state))
		_ = c.Close()
	}
	if err != nil {
		log.Warn("systemd not notified", "state", state, "error", err)
	}
}
