package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// caller is the identity of a request's sender.
type caller struct {
	tenant    string // the only tenant that the caller sees; "" for all
	trusted   bool   // may submit commands
	anonymous bool   // not authenticated: may only ask whether the daemon is alive and accepts work
}

// guardSocket trusts every caller that can open the socket. A browser cannot open it, but a program on this machine
// may forward a web page's request to it.
func (a *API) guardSocket(r *http.Request) (caller, error) {
	if len(r.Header["Origin"]) > 0 || foreignSite(r) {
		return caller{}, park.Errorf(park.Forbidden, "a web page cannot use the daemon's socket")
	}
	return caller{trusted: true}, nil
}

// guardTCP refuses requests that a web page could send without its user knowing, and then asks for a token. A web page
// can do so without any trick if a name can be made to point to this machine. A probe from outside, such as a
// cluster's, has neither the daemon's name nor a token.
func (a *API) guardTCP(r *http.Request) (caller, error) {
	if foreignOrigin(r) || foreignSite(r) {
		return caller{}, park.Errorf(park.Forbidden, "the request comes from a web page of another site")
	}
	who, err := a.authenticate(r)
	if err != nil && a.publicPaths[r.URL.Path] && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return caller{anonymous: true}, nil
	}
	return who, err
}

// authenticate returns the authenticated caller.
func (a *API) authenticate(r *http.Request) (caller, error) {
	if !a.isOwnHost(r) {
		return caller{}, park.Errorf(park.Forbidden, "%q is not a known name of this daemon; to allow it, add it to allowed_hosts", quote(r.Host))
	}
	if len(a.cfg.Tokens) == 0 {
		return caller{}, a.requireLocalUser(r)
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

// requireLocalUser refuses callers other than the daemon's own user on its own machine.
func (a *API) requireLocalUser(r *http.Request) error {
	if at := localIP(r); at != nil && !at.IsLoopback() {
		return park.Errorf(park.Forbidden, "without tokens, only the daemon's own machine may use it, but this request came in at %s", at)
	}
	if a.cfg.Owner != nil && !a.cfg.Owner(r) {
		return park.Errorf(park.Forbidden, "without tokens, only the daemon's own user and root may use it; other users need a token")
	}
	return nil
}

// bearerOf returns the token that a request has.
func (a *API) bearerOf(r *http.Request) (*Token, error) {
	given, ok := bearer(r)
	if !ok {
		return nil, park.Errorf(park.Unauthorized, "a token is required: Authorization: Bearer …")
	}
	sum := sha256.Sum256([]byte(given))
	var found *Token
	for i := range a.cfg.Tokens {
		// All tokens are compared, so that the time reveals nothing.
		if subtle.ConstantTimeCompare(sum[:], a.cfg.Tokens[i].SHA256[:]) == 1 {
			found = &a.cfg.Tokens[i]
		}
	}
	if found == nil {
		return nil, park.Errorf(park.Unauthorized, "unknown token")
	}
	return found, nil
}

// bearer returns the bearer token of a request. It accepts only one header, because different readers of two headers
// would choose different ones.
func bearer(r *http.Request) (string, bool) {
	given := r.Header["Authorization"]
	if len(given) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(given[0], " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "bearer")
}

// isOwnHost reports whether a request is addressed to this daemon: by a loopback name, by the address at which it came
// in, or by a configured name.
func (a *API) isOwnHost(r *http.Request) bool {
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

// localIP returns the address at which a request came in, if that is known.
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

// foreignOrigin reports whether a request comes from a web page that is not the daemon's own. No browser sends the
// header twice, and with two headers the check might look at the wrong one.
func foreignOrigin(r *http.Request) bool {
	given := r.Header["Origin"]
	return len(given) > 1 || len(given) == 1 && !isOwnOrigin(given[0], r.Host)
}

func isOwnOrigin(origin, host string) bool {
	scheme, rest, _ := strings.Cut(origin, "://")
	return (scheme == "http" || scheme == "https") && strings.EqualFold(rest, host)
}

func foreignSite(r *http.Request) bool {
	given := r.Header["Sec-Fetch-Site"]
	return len(given) > 1 || len(given) == 1 && given[0] != "none" && given[0] != "same-origin"
}
