package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// caller is who asks.
type caller struct {
	tenant  string // the only one that it sees; "" for all
	trusted bool   // may say what the daemon runs
}

// guardSocket: whoever may open the socket is trusted. A browser cannot open it, but something on this machine
// may carry a web page's request to it.
func (a *API) guardSocket(r *http.Request) (caller, error) {
	if r.Header.Get("Origin") != "" || foreignSite(r) {
		return caller{}, park.Errorf(park.Forbidden, "web pages may not use the daemon's socket")
	}
	return caller{trusted: true}, nil
}

// guardTCP refuses what a web page could send without its user knowing, which needs no way around a browser
// where a name can be made to point to this machine, and then asks for a token.
func (a *API) guardTCP(r *http.Request) (caller, error) {
	if !a.ownHost(r) {
		return caller{}, park.Errorf(park.Forbidden, "the request is addressed to %q, which is not this daemon's name; if it is, add it to allowed_hosts", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && !ownOrigin(origin, r.Host) || foreignSite(r) {
		return caller{}, park.Errorf(park.Forbidden, "the request comes from a web page that is not the daemon's own")
	}
	if len(a.cfg.Tokens) == 0 {
		if at := localIP(r); at != nil && !at.IsLoopback() {
			return caller{}, park.Errorf(park.Forbidden, "without tokens the daemon is open to its own machine alone, and this request came in at %s", at)
		}
		return caller{}, nil
	}
	given, ok := bearer(r)
	if !ok {
		return caller{}, park.Errorf(park.Unauthorized, "a token is needed: Authorization: Bearer …")
	}
	sum := sha256.Sum256([]byte(given))
	found := -1
	for i := range a.cfg.Tokens {
		// All are compared, so that the time says nothing.
		if subtle.ConstantTimeCompare(sum[:], a.cfg.Tokens[i].SHA256[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return caller{}, park.Errorf(park.Unauthorized, "the token is not known")
	}
	return caller{tenant: a.cfg.Tokens[found].Tenant, trusted: true}, nil
}

func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "bearer")
}

// ownHost reports whether a request is addressed to this daemon: by a name of loopback, by the address that
// it came in at, or by a name that was configured.
func (a *API) ownHost(r *http.Request) bool {
	host := hostOf(r.Host)
	if host == "localhost" || a.hosts[host] {
		return true
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return false
	}
	return ip.IsLoopback() || ip.Equal(localIP(r))
}

// localIP returns the address that a request came in at, as far as that is known.
func localIP(r *http.Request) net.IP {
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return at.IP
	}
	return nil
}

// hostOf returns the host of host:port, in lower case and without the brackets of IPv6.
func hostOf(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func ownOrigin(origin, host string) bool {
	scheme, rest, _ := strings.Cut(origin, "://")
	return (scheme == "http" || scheme == "https") && strings.EqualFold(rest, host)
}

func foreignSite(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "none" && site != "same-origin"
}
