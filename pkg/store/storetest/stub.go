package storetest

import (
	"github.com/parkd-dev/parkd/pkg/store"
	"testing"
)

type group = map[string]func(*testing.T, store.Store)

func commitTests() group  { return nil }
func readTests() group    { return nil }
func outboxTests() group  { return nil }
func mailboxTests() group { return nil }
func auditTests() group   { return nil }
func pruneTests() group   { return nil }
func raceTests() group    { return nil }
