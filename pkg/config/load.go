package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/viper"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Options has the sources of a configuration other than its file. An empty field means that the flag was not given.
type Options struct {
	File   string // --config
	Listen string // --listen
	Socket string // --socket; "off" for none
	DB     string // --db
	DSN    string // --postgres-dsn
	// Pools lists the pools whose tasks this node starts (--pools); nil for all.
	Pools []string
	// Env returns an environment variable; default: [os.Getenv].
	Env func(string) string
}

// Off as the value of listen or socket disables that listener.
const Off = "off"

// The defaults.
const (
	DefaultListen    = "127.0.0.1:7275"
	defaultRetention = 7 * 24 * time.Hour
	defaultDrain     = 30 * time.Second
	defaultNodeTTL   = 10 * time.Second
	minNodeTTL       = time.Second
	maxGrace         = 24 * time.Hour // for settings during which units stay in use
	fileName         = "scheduler-config.json"
)

// Load reads and checks a configuration. Its errors are [Faults].
func Load(o Options) (*Config, error) {
	if o.Env == nil {
		o.Env = os.Getenv
	}
	path, err := o.file()
	if err != nil {
		return nil, err
	}
	tree := map[string]any{}
	if path != "" {
		if tree, err = readTree(path); err != nil {
			return nil, Faults{{Path: path, Problem: err.Error()}}
		}
	}
	c := &Config{Source: path, StateDir: StateDir(o.Env)}
	r := &reader{}
	c.read(section{r: r, tree: tree, known: map[string]bool{}}, o)
	if len(r.faults) > 0 {
		slices.SortStableFunc(r.faults, func(a, b Fault) int { return strings.Compare(a.Path, b.Path) })
		return nil, r.faults
	}
	return c, nil
}

// file finds the configuration file: the named one, else the one in the working directory, else the user's own.
func (o Options) file() (string, error) {
	for _, named := range []struct{ by, path string }{{"--config", o.File}, {"PARKD_CONFIG", o.Env("PARKD_CONFIG")}} {
		if named.path == "" {
			continue
		}
		if _, err := os.Stat(named.path); err != nil {
			return "", Faults{{Path: named.by, Problem: fmt.Sprintf("cannot read the file: %v", err)}}
		}
		return named.path, nil
	}
	places := []string{fileName}
	if dir := configDir(o.Env); dir != "" {
		places = append(places, filepath.Join(dir, fileName))
	}
	for _, path := range places {
		// A file that exists but cannot be read is not skipped.
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			return path, nil
		}
	}
	return "", nil
}

// resolve returns the settings that flags and the environment can also set, and the origin of each. It uses viper only
// for the precedence: viper folds the case of keys, and does not say where a value came from.
func (o Options) resolve(file map[string]string) (v *viper.Viper, from map[string]string) {
	v, from = viper.New(), map[string]string{}
	for _, s := range []struct{ path, byDefault, env, flag, given string }{
		{"listen", DefaultListen, "PARKD_LISTEN", "--listen", o.Listen},
		{"socket", DefaultSocket(o.Env), "PARKD_SOCKET", "--socket", o.Socket},
		{"backends.file.path", defaultDB(o.Env), "PARKD_DB", "--db", o.DB},
		{"backends.postgres.dsn", "", "PARKD_POSTGRES_DSN", "--postgres-dsn", o.DSN},
	} {
		v.SetDefault(s.path, s.byDefault)
		from[s.path] = "default"
		if text, ok := file[s.path]; ok {
			v.SetDefault(s.path, text)
			from[s.path] = "file"
		}
		if text := o.Env(s.env); text != "" {
			v.Set(s.path, text)
			from[s.path] = "environment " + s.env
		}
		if s.given != "" {
			v.Set(s.path, s.given)
			from[s.path] = "flag " + s.flag
		}
	}
	return v, from
}

func (c *Config) read(s section, o Options) {
	s.text("$schema")
	inFile := map[string]string{}
	note := func(s section, key, path string) {
		if text := s.text(key); s.has(key) {
			inFile[path] = text
		}
	}
	note(s, "listen", "listen")
	note(s, "socket", "socket")
	backends := s.section("backends")
	file, postgres := backends.section("file"), backends.section("postgres")
	note(file, "path", "backends.file.path")
	note(postgres, "dsn", "backends.postgres.dsn")
	c.Postgres.Notify = postgres.boolean("notify", true)
	for _, done := range []section{file, postgres, backends} {
		done.finish()
	}
	if p := inFile["backends.file.path"]; p != "" && !filepath.IsAbs(p) {
		inFile["backends.file.path"] = filepath.Join(filepath.Dir(c.Source), p)
	}
	var v *viper.Viper
	v, c.origins = o.resolve(inFile)
	c.Listen, c.Socket = unlessOff(v.GetString("listen")), unlessOff(v.GetString("socket"))
	c.DefaultSocket = c.Socket != "" && c.Socket == DefaultSocket(o.Env)
	c.File.Path, c.Postgres.DSN = v.GetString("backends.file.path"), v.GetString("backends.postgres.dsn")

	c.Postgres.Others, c.Postgres.dsnPaths = make(map[park.Backend]string), make(map[park.Backend]string)
	c.Retention = s.duration("retention", defaultRetention, park.MaxDuration)
	c.DrainTimeout = s.duration("drain_timeout", defaultDrain, park.MaxDuration)
	c.readHosts(s)
	c.readTokens(s, o)
	if c.NodeTTL = s.duration("node_ttl", defaultNodeTTL, maxGrace); c.NodeTTL < minNodeTTL {
		s.fault("node_ttl", "must be at least %s, not %s", minNodeTTL, c.NodeTTL)
	}
	c.readPools(s)
	c.Audit = c.readAudit(s)
	c.choosePools(s.r, o.Pools)
	s.finish()
	c.checkTogether(s.r)
	c.settings = c.list(s)
}

// readHosts reads the additional names of the daemon: a host, perhaps with a port.
func (c *Config) readHosts(s section) {
	c.AllowedHosts = s.texts("allowed_hosts")
	for i, host := range c.AllowedHosts {
		if u, err := url.Parse("//" + host); host == "" || err != nil || u.Host != host || u.Hostname() == "" {
			s.r.fault(fmt.Sprintf("%s[%d]", s.at("allowed_hosts"), i), "must be a host such as parkd.example.org, without scheme and path")
		}
	}
}

func unlessOff(text string) string {
	if text == Off {
		return ""
	}
	return text
}

func (c *Config) readPools(s section) {
	pools := s.section("pools")
	if !s.has("pools") {
		c.Pools = defaultPools()
		return
	}
	for _, name := range pools.keys() {
		c.Pools = append(c.Pools, c.readPool(pools.section(name), name))
	}
	if len(c.Pools) == 0 && pools.tree != nil {
		s.fault("pools", "must have at least one pool")
	}
	slices.SortFunc(c.Pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
}

// readAudit reads where the audit log is stored. The default is the store of the queues that nodes share, so that one
// log has all of their events.
func (c *Config) readAudit(s section) park.Backend {
	byDefault := park.File
	for i := range c.Pools {
		if c.Pools[i].Queue == park.Postgres {
			byDefault = park.Postgres
		}
	}
	return c.readBackend(s, "audit", byDefault)
}

// choosePools makes this node start only tasks of the named pools.
func (c *Config) choosePools(r *reader, named []string) {
	if named == nil {
		return
	}
	if len(named) == 0 {
		r.fault("--pools", "is empty: leave it out to start the tasks of all pools")
		return
	}
	left := make(map[string]bool)
	for _, name := range named {
		left[name] = true
	}
	for i := range c.Pools {
		c.Pools[i].Idle = !left[c.Pools[i].Name]
		delete(left, c.Pools[i].Name)
	}
	for name := range left {
		r.fault("--pools", "has %q, but there is no such pool", name)
	}
}

// defaultPools returns the pools of a daemon without a configuration: one for the processors, one for a graphics card.
func defaultPools() []Pool {
	pool := func(name string, kind park.Kind, units int64) Pool {
		return Pool{
			Name: name, Kind: kind, MaxUnits: units, MaxQueueDepth: 10_000, Queue: park.File, Mailbox: Mailbox{Storage: park.File},
			Runtime: park.Native, Executor: Executor{Type: ExecutorExec},
		}
	}
	return []Pool{pool("default", park.CPU, int64(runtime.NumCPU())), pool("gpu", park.GPUVram, 24)}
}

// checkTogether checks rules that concern several settings.
func (c *Config) checkTogether(r *reader) {
	if slices.Contains(c.Backends(), park.Postgres) && c.Postgres.DSN == "" {
		r.fault("backends.postgres.dsn", "is required, because %s postgres: give it here, with --postgres-dsn or with PARKD_POSTGRES_DSN", c.describeUsers(park.Postgres))
	}
	if slices.Contains(c.Backends(), park.File) && c.File.Path == "" && !r.hasFaults("backends.file.path") {
		r.fault("backends.file.path", "is required, because there is no home folder for the file: give it here or with --db")
	}
	if c.Listen == "" && c.Socket == "" {
		r.fault("listen", "and socket are both off: no client could reach the daemon")
	}
	if c.Listen != "" {
		c.checkListen(r, c.Place("listen"))
	}
}

// describeUsers says what uses a backend, for a fault.
func (c *Config) describeUsers(b park.Backend) string {
	var users []string
	for _, p := range c.Pools {
		if p.Queue == b || p.Mailbox.Storage == b {
			users = append(users, p.Name)
		}
	}
	switch {
	case len(users) == 0:
		return "the audit log uses"
	case len(users) == 1:
		return "pool " + users[0] + " uses"
	}
	return "pools " + strings.Join(users, ", ") + " use"
}

func (c *Config) checkListen(r *reader, path string) {
	host, port, err := net.SplitHostPort(c.Listen)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n > 65535 {
		r.fault(path, "must be host:port such as %s, or %s", DefaultListen, Off)
		return
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	if !loopback && len(c.Tokens) == 0 {
		r.fault(path, "other machines can reach %q, but no tokens are configured: add tokens, or listen on 127.0.0.1", c.Listen)
	}
}
