//go:build linux

package crash_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/internal/proof/faultproxy"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// TestNodes kills nodes that share a database. It freezes others for long enough that their tasks are taken over, and
// continues them.
func TestNodes(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := proof.Begin(t, "nodes")
	c.Target("node kills", 4, 16, 400)
	c.Target("freezes", 2, 8, 400)
	s := newCluster(c, dsn, 5)
	for c.More("node kills") || c.More("freezes") {
		if c.Failed() {
			return
		}
		frozen := 0
		if c.More("freezes") {
			for _, n := range s.nodes[:2] {
				n.signal(syscall.SIGSTOP)
				frozen++
			}
		}
		began := time.Now()
		for range 2 + s.rng.IntN(4) {
			if c.More("node kills") {
				s.killNode(s.nodes[2+s.rng.IntN(3)])
			}
		}
		if frozen > 0 {
			time.Sleep(time.Until(began.Add(takeoverTime + s.between(0, time.Second))))
			for _, n := range s.nodes[:2] {
				n.signal(syscall.SIGCONT)
			}
			c.Add("freezes", frozen)
		}
	}
	s.endFaults()
}

// killNode kills a node and restarts it: at once, or after the takeover.
func (s *nodeCluster) killNode(n *node) {
	n.kill()
	if s.rng.IntN(6) == 0 {
		time.Sleep(s.between(takeoverTime/2, takeoverTime))
	}
	n.start()
	time.Sleep(s.between(0, 300*time.Millisecond))
	s.Add("node kills", 1)
}

// commit is in the request of every commit and in no other.
const commit = ".pl_commit("

// TestLostReplies cuts a node's connection after the server has committed and before the node knows it. Sometimes the
// server then cannot be reached for a while.
func TestLostReplies(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := proof.Begin(t, "lost-commit-replies")
	c.Target("lost replies", 10, 25, 1000)
	s := newCluster(c, dsn, 3)
	for c.More("lost replies") && !c.Failed() {
		_, p := s.randomNode()
		before := p.Lost()
		away := s.rng.IntN(3) == 0
		p.LoseReply([]byte(commit))
		s.waitFor("a reply that is lost", func() bool { return p.Lost() > before })
		c.Add("lost replies", p.Lost()-before)
		if away {
			p.Refuse(true)
			p.Cut()
			time.Sleep(s.between(0, 800*time.Millisecond))
			p.Refuse(false)
			c.Add("servers out of reach", 1)
		}
	}
	s.endFaults()
}

// TestPartitions cuts nodes off from the database: in both directions, in one, or by breaking every connection.
func TestPartitions(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := proof.Begin(t, "partitions")
	c.Target("partitions", 3, 10, 400)
	s := newCluster(c, dsn, 3)
	for c.More("partitions") && !c.Failed() {
		_, p := s.randomNode()
		for i := range 1 + s.rng.IntN(3) {
			switch s.rng.IntN(4) {
			case 0:
				p.Block(faultproxy.ToServer, true)
			case 1:
				p.Block(faultproxy.ToClient, true)
			case 2:
				p.Refuse(true)
				p.Cut()
			case 3:
				p.Cut()
			}
			time.Sleep(s.between(0, takeoverTime/2))
			c.Add("partitions", 1)
			if i == 0 && s.rng.IntN(2) == 0 {
				continue
			}
			p.Refuse(false)
			p.Block(faultproxy.ToServer, false)
			p.Block(faultproxy.ToClient, false)
		}
		p.Refuse(false)
		p.Block(faultproxy.ToServer, false)
		p.Block(faultproxy.ToClient, false)
	}
	s.endFaults()
}

// TestServer kills the database server, or the processes that serve the nodes.
func TestServer(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := proof.Begin(t, "server")
	c.Target("postmaster kills", 1, 2, 100)
	c.Target("immediate restarts", 1, 2, 100)
	c.Target("backend kills", 6, 20, 1000)
	s := newCluster(c, dsn, 3)
	for c.More("postmaster kills") || c.More("immediate restarts") || c.More("backend kills") {
		if c.Failed() {
			return
		}
		for range 4 {
			if c.More("backend kills") {
				s.killBackends()
			}
		}
		switch {
		case c.More("postmaster kills") && s.rng.IntN(2) == 0:
			s.restart("postmaster kills", cluster.Server().Kill)
		case c.More("immediate restarts"):
			s.restart("immediate restarts", cluster.Server().Quit)
		case c.More("postmaster kills"):
			s.restart("postmaster kills", cluster.Server().Kill)
		}
	}
	s.endFaults()
}

// killBackends ends some of the nodes' sessions.
func (s *nodeCluster) killBackends() {
	time.Sleep(s.between(0, 60*time.Millisecond))
	n := 1 + s.rng.IntN(4)
	s.admin(fmt.Sprintf(`SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT %d) AS sessions`, n))
	s.Add("backend kills", n)
}

func (s *nodeCluster) restart(what string, end func()) {
	end()
	time.Sleep(s.between(0, 500*time.Millisecond))
	s.restartServer(cluster.Server())
	s.Add(what, 1)
	time.Sleep(s.between(0, 500*time.Millisecond))
}

// restartServer starts a server that has ended, once its old processes have exited.
func (s *nodeCluster) restartServer(db *server.Server) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	for {
		err := db.Run(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			s.Fatal(err)
		}
		sleep(ctx, 50*time.Millisecond)
	}
}

// TestRefusals makes the database refuse writes: with serialization failures and deadlocks, and as read-only.
func TestRefusals(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := proof.Begin(t, "database-refusals")
	c.Target("spells of 40001 and 40P01", 2, 3, 100)
	c.Target("read-only flips", 2, 3, 100)
	s := newCluster(c, dsn, 3)
	s.admin(`CREATE SEQUENCE refusals`,
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF random() < 0.4 THEN
				PERFORM nextval('refusals');
				IF random() < 0.5 THEN RAISE EXCEPTION 'serialization' USING ERRCODE = '40001'; END IF;
				RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01';
			END IF;
			RETURN NEW; END $$`)
	for c.More("spells of 40001 and 40P01") || c.More("read-only flips") {
		if c.Failed() {
			return
		}
		if c.More("spells of 40001 and 40P01") {
			s.admin(`CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON pl_queue_jobs FOR EACH ROW EXECUTE FUNCTION refuse()`)
			time.Sleep(s.between(200*time.Millisecond, time.Second))
			s.admin(`DROP TRIGGER refuse ON pl_queue_jobs`)
			c.Add("spells of 40001 and 40P01", 1)
		}
		if c.More("read-only flips") {
			s.admin(`ALTER SYSTEM SET default_transaction_read_only = on`, `SELECT pg_reload_conf()`)
			time.Sleep(s.between(100*time.Millisecond, time.Second))
			s.admin(`SET default_transaction_read_only = off`, `ALTER SYSTEM RESET default_transaction_read_only`, `SELECT pg_reload_conf()`)
			c.Add("read-only flips", 1)
		}
		time.Sleep(s.between(0, 300*time.Millisecond))
	}
	s.countRefusals()
	s.endFaults()
}
