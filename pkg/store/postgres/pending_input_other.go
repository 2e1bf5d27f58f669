//go:build !unix

package postgres

import "net"

// stirred has each connection looked at, where there is no cheaper way to see that it was closed.
func stirred(net.Conn) bool { return true }
