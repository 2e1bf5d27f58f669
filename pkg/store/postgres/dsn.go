package postgres

import (
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What may be shown of a DSN. A DSN may have passwords in several places, and if it is invalid, a part of a password
// may have been parsed as something else. So only what the parser found harmless is ever shown.

// CheckDSN returns an error if [Open] does not accept dsn. The error shows nothing of it.
func CheckDSN(dsn string) error {
	_, err := parse(dsn)
	return err
}

const masked = "***"

// DescribeDSN describes a DSN: hosts, ports, database, user, and the names of parameters with masked values. An invalid
// one is masked as a whole.
func DescribeDSN(dsn string) string {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return masked
	}
	cc := cfg.ConnConfig
	text := "postgres://"
	if cc.User != "" {
		text += url.User(cc.User).String()
		if cc.Password != "" {
			text += ":" + masked
		}
		text += "@"
	}
	text += strings.Join(hostList(&cc.Config), ",") + "/" + url.PathEscape(cc.Database)
	var params []string
	for _, name := range slices.Sorted(maps.Keys(cc.RuntimeParams)) {
		value := masked
		if name == "application_name" || name == "search_path" {
			value = url.QueryEscape(cc.RuntimeParams[name])
		}
		params = append(params, url.QueryEscape(name)+"="+value)
	}
	if len(params) > 0 {
		text += "?" + strings.Join(params, "&")
	}
	return text
}

const defaultPort = 5432

// hostList returns the hosts in the order in which they are tried. A host that is tried with TLS and without is listed
// once.
func hostList(c *pgconn.Config) []string {
	all := []string{hostPort(c.Host, c.Port)}
	for _, f := range c.Fallbacks {
		if hp := hostPort(f.Host, f.Port); !slices.Contains(all, hp) {
			all = append(all, hp)
		}
	}
	return all
}

func hostPort(host string, port uint16) string {
	if strings.HasPrefix(host, "/") {
		host = url.PathEscape(host)
	}
	switch {
	case port == defaultPort && strings.Contains(host, ":"):
		return "[" + host + "]"
	case port == defaultPort:
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// parserErrors are texts of the DSN parser that show nothing of a DSN.
func parserErrors() []string {
	return []string{
		"failed to parse as URL", "failed to parse as keyword/value", "invalid port", "could not match", "sslmode is invalid",
		`both "sslcert" and "sslkey" are required`, "unable to add CA to cert pool", "failed to decode sslkey",
		"unable to find sslpassword", "failed to configure TLS", "failed to read service", "invalid connect_timeout",
		"invalid sslcertmode", "unknown target_session_attrs value", "unknown channel_binding value", "invalid require_auth",
		"min_protocol_version", "max_protocol_version", "pool_max_conns", "pool_min_conns", "pool_min_idle_conns",
		"pool_max_conn_lifetime", "pool_max_conn_idle_time", "pool_health_check_period", "pool_ping_timeout",
		"statement_cache_capacity", "description_cache_capacity", "invalid default_query_exec_mode",
	}
}

// dsnError describes what is wrong with a DSN.
func dsnError(err error) error {
	why := "it is invalid"
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		why = file.Error()
	} else {
		for _, known := range parserErrors() {
			if strings.Contains(err.Error(), known) {
				why = known
				break
			}
		}
	}
	return errors.New("must be a DSN such as postgres://user:password@host:5432/database or 'host=h dbname=d', " +
		"in a URL with %23 for # and so on: " + why)
}
