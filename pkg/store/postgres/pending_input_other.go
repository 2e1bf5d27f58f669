//go:build !unix

package postgres

import "net"

// hasPendingInput has each connection checked by a ping, because this system has no cheaper way to see that it was
// closed.
func hasPendingInput(net.Conn) bool { return true }
