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
	anybody bool   // has not shown who it is: may know that the daemon lives, and whether it takes work
}

// guardSocket: whoever may open the socket is trusted. A browser cannot open it, but something on this machine
// may carry a web page's request to it.
func (a *API) guardSocket(r *http.Request) (caller, error) {
	if len(r.Header["Origin"]) > 0 || foreignSite(r) {
		return caller{}, park.Errorf(park.Forbidden, "a web page cannot use the daemon's socket")
	}
	return caller{trusted: true}, nil
}

// guardTCP refuses what a web page could send without its user knowing, which needs no way around a browser
// where a name can be made to point to this machine, and then asks for a token. What probes a daemon from outside, as
// a cluster does, has neither its name nor a token.
func (a *API) guardTCP(r *http.Request) (caller, error) {
	if foreignOrigin(r) || foreignSite(r) {
		return caller{}, park.Errorf(park.Forbidden, "the request comes from a web page of another site")
	}
	who, err := a.known(r)
	if err != nil && a.open[r.URL.Path] && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return caller{anybody: true}, nil
	}
	return who, err
}

// known returns who asks, once that is shown.
func (a *API) known(r *http.Request) (caller, error) {
	if !a.ownHost(r) {
		return caller{}, park.Errorf(park.Forbidden, "%q is not a known name of this daemon; to allow it, add it to allowed_hosts", short(r.Host))
	}
	if len(a.cfg.Tokens) == 0 {
		return caller{}, a.near(r)
	}
	t, err := a.bearerOf(r)
	if err != nil {
		return caller{}, err
	}
	if t.Role == RoleMetrics && (r.URL.Path != metricsPath || r.Method != http.MethodGet && r.Method != http.MethodHead) {
		return caller{}, park.Errorf(park.Forbidden, "the token has the role metrics, which allows only GET %s", metricsPath)
	}
	return caller{tenant: t.Tenant, trusted: t.Role == ""}, nil
}

// near refuses who is not the daemon's user on its own machine.
func (a *API) near(r *http.Request) error {
	if at := localIP(r); at != nil && !at.IsLoopback() {
		return park.Errorf(park.Forbidden, "without tokens, only the daemon's own machine may use it, but this request came in at %s", at)
	}
	if a.cfg.Owner != nil && !a.cfg.Owner(r) {
		return park.Errorf(park.Forbidden, "without tokens, only the daemon's own user and root may use it; other users need a token")
	}
	return nil
}

// bearerOf returns the token that a request brings.
func (a *API) bearerOf(r *http.Request) (*Token, error) {
	given, ok := bearer(r)
	if !ok {
		return nil, park.Errorf(park.Unauthorized, "a token is required: Authorization: Bearer …")
	}
	sum := sha256.Sum256([]byte(given))
	var found *Token
	for i := range a.cfg.Tokens {
		// All are compared, so that the time says nothing.
		if subtle.ConstantTimeCompare(sum[:], a.cfg.Tokens[i].SHA256[:]) == 1 {
			found = &a.cfg.Tokens[i]
		}
	}
	if found == nil {
		return nil, park.Errorf(park.Unauthorized, "unknown token")
	}
	return found, nil
}

// bearer returns the token of a request that brings one. Of two, each reader would choose another.
func bearer(r *http.Request) (string, bool) {
	given := r.Header["Authorization"]
	if len(given) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(given[0], " ")
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

// foreignOrigin reports whether a request comes from a web page that is not the daemon's own. No browser sends the header
// twice: who looks at one of two may look at the wrong one.
func foreignOrigin(r *http.Request) bool {
	given := r.Header["Origin"]
	return len(given) > 1 || len(given) == 1 && !ownOrigin(given[0], r.Host)
}

func ownOrigin(origin, host string) bool {
	scheme, rest, _ := strings.Cut(origin, "://")
	return (scheme == "http" || scheme == "https") && strings.EqualFold(rest, host)
}

func foreignSite(r *http.Request) bool {
	given := r.Header["Sec-Fetch-Site"]
	return len(given) > 1 || len(given) == 1 && given[0] != "none" && given[0] != "same-origin"
}
