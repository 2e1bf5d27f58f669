package park

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// A pool knows its tasks by their ids, whoever sent them. So that a tenant can use an id that another one uses, its task is
// kept under an id of its own then: "x@acme" for the task x of the tenant acme. No client can submit an id with an @. What
// the tenant itself is shown is x.

const (
	tenantMark = "@"
	// maxTenantMark is how long a tenant's name may be, in bytes, to stand in an id. That of a longer one, or one with other
	// characters than an id has, gives way to the beginning of its SHA-256, of hashLength hexadecimal digits, behind a second @.
	maxTenantMark = 32
	hashLength    = 32
)

// TenantTaskID returns the id under which a pool keeps the task that a tenant calls id, if that id is another tenant's.
func TenantTaskID(id, tenant string) string {
	if len(tenant) <= maxTenantMark && ValidTaskID(tenant) {
		return id + tenantMark + tenant
	}
	sum := sha256.Sum256([]byte(tenant))
	return id + tenantMark + tenantMark + hex.EncodeToString(sum[:])[:hashLength]
}

// ShownTaskID returns the id that a task's tenant knows it by.
func ShownTaskID(id string) string {
	shown, _, _ := strings.Cut(id, tenantMark)
	return shown
}

// StoredTaskID reports whether a pool can have a task with the id: one that [ValidTaskID] allows, or [TenantTaskID] makes.
func StoredTaskID(id string) bool {
	shown, mark, marked := strings.Cut(id, tenantMark)
	mark = strings.TrimPrefix(mark, tenantMark)
	return ValidTaskID(shown) && (!marked || len(mark) <= max(maxTenantMark, hashLength) && ValidTaskID(mark))
}
