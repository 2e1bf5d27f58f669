package daemon

import (
	"log/slog"
	"net"
	"os"
)

// tellSystemd says in what state the service is, where systemd has asked for it (Type=notify). A name that begins with @
// is one of the abstract sockets, which package net knows by the same sign.
func tellSystemd(log *slog.Logger, state string) {
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
