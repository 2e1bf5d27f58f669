package postgres_test

import (
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// TestDescribeDSN: the description has the hosts, database and user of a DSN in any format, and no secret.
func TestDescribeDSN(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSSLMODE", "PGSERVICE"} {
		t.Setenv(name, "")
	}
	t.Setenv("PGPASSFILE", "/nowhere")
	for dsn, want := range map[string]string{
		"postgres://u:secret@h/d":                                     "postgres://u:***@h/d",
		"postgres://u@h/d":                                            "postgres://u@h/d",
		"postgres://u:p%23se%40cret@h1,h2:6000/d":                     "postgres://u:***@h1,h2:6000/d",
		"host=h password=secret user=u dbname=d":                      "postgres://u:***@h/d",
		`host=h user=u dbname=d password='a b\'secret'`:               "postgres://u:***@h/d",
		"host=h user=u dbname=d password = secret#%zz":                "postgres://u:***@h/d",
		"postgres://u@h/d?password=secret&sslmode=disable":            "postgres://u:***@h/d",
		"postgres://u@h/d?sslmode=disable&sslpassword=secret":         "postgres://u@h/d",
		"postgres://u@h/d?application_name=a&options=-c%20x%3Dsecret": "postgres://u@h/d?application_name=a&options=***",
		"postgres://u:secret@[::1]:5432/d":                            "postgres://u:***@[::1]/d",
		"postgres://u@%2Ftmp%2Fs/d":                                   "postgres://u@%2Ftmp%2Fs/d",
		"host=/tmp/s user=u dbname=d port=6000":                       "postgres://u@%2Ftmp%2Fs:6000/d",
		"postgres://u:se#cret@h/d":                                    "***",
		"postgres://u:%zzsecret@h/d":                                  "***",
		"postgres://u:se cret@h/d":                                    "***",
		"postgres://u:secret@h:port/d":                                "***",
		"mysql://u:secret@h/d":                                        "***",
	} {
		if got := postgres.DescribeDSN(dsn); got != want && (want != "***" || strings.Contains(got, "cret")) {
			t.Errorf("%s is shown as %s, want %s", dsn, got, want)
		}
	}
}

// TestBadDSN: the error says what is wrong and shows nothing of the DSN.
func TestBadDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://u:pa/ssecret@h/d":                                         "invalid port",
		"postgres://u:%zzsecret@h/d":                                          "failed to parse as URL",
		"host=h password=secret port=secret":                                  "invalid port",
		"just-a-secret":                                                       "failed to parse as keyword/value",
		"postgres://u:secret@h/d?sslmode=secret":                              "sslmode is invalid",
		"postgres://u:secret@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca": "/nowhere/ca",
		"postgres://u:secret@h/d?pool_max_conns=secret":                       "pool_max_conns",
	} {
		err := postgres.CheckDSN(dsn)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", dsn, err, want)
		}
	}
	if err := postgres.CheckDSN("postgres://u:secret@h/d"); err != nil {
		t.Error(err)
	}
}
