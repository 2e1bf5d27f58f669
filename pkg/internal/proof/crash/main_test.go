//go:build linux

package crash_test

import (
	"os"
	"testing"

	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) {
	code := cluster.Run(m)
	built.remove()
	os.Exit(code)
}
