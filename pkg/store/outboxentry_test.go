package store_test

import (
	"bytes"
	"testing"

	"github.com/parkd-dev/parkd/pkg/store"
)

// FuzzOutboxEntry decodes what stands in an outbox. What is taken is encoded to what decodes the same.
func FuzzOutboxEntry(f *testing.F) {
	f.Add([]byte(`{"message":{"taskId":"a","poolId":"gpu","status":"completed","attempt":1},"tenant":"acme","key":"box"}`), []byte(`{"ok":true}`))
	f.Add([]byte(`{"event":{"eventId":"gpu:1:0","action":"submit","units":3},"ord":2}`), []byte(nil))
	f.Fuzz(func(t *testing.T, content, payload []byte) {
		var p, again store.OutboxEntry
		if p.Decode(content, payload) != nil {
			return
		}
		c1, p1, err := p.Encode()
		if err != nil {
			return // a time that cannot be written
		}
		if err := again.Decode(c1, p1); err != nil {
			t.Fatalf("%s is not read again: %v", c1, err)
		}
		c2, p2, err := again.Encode()
		if err != nil || !bytes.Equal(c1, c2) || !bytes.Equal(p1, p2) {
			t.Fatalf("%s %s is then %s %s, %v", c1, p1, c2, p2, err)
		}
	})
}
