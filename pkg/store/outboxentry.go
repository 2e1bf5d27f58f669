package store

import (
	"encoding/json"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/park"
)

// entryContent is the content of an outbox entry as a database stores it. The JSON of Message and Event leaves out
// fields that a store needs.
type entryContent struct {
	Message *park.Message `json:"message,omitempty"`
	Tenant  string        `json:"tenant,omitempty"`
	Key     string        `json:"key,omitempty"`
	Event   *park.Event   `json:"event,omitempty"`
	Ord     int           `json:"ord,omitempty"`
}

// Encode returns the entry's content as JSON, and separately the bytes that must stay as they are.
func (p *OutboxEntry) Encode() (content, payload []byte, err error) {
	var b entryContent
	if p.Message != nil {
		m := *p.Message
		payload, m.Payload = m.Payload, nil
		b.Message, b.Tenant, b.Key = &m, m.Tenant, m.Key
	}
	if p.Event != nil {
		e := *p.Event
		payload, e.Detail = e.Detail, nil
		b.Event, b.Ord = &e, e.Ord
	}
	content, err = json.Marshal(&b)
	return content, payload, err
}

// Decode sets the entry's content to what Encode returned.
func (p *OutboxEntry) Decode(content, payload []byte) error {
	var b entryContent
	if err := json.Unmarshal(content, &b); err != nil {
		return fmt.Errorf("content of parcel %d: %w", p.ID, err)
	}
	if p.Message = b.Message; p.Message != nil {
		p.Message.Tenant, p.Message.Key, p.Message.Payload = b.Tenant, b.Key, payload
	}
	if p.Event = b.Event; p.Event != nil {
		p.Event.Ord, p.Event.Detail = b.Ord, payload
	}
	return nil
}

// Size returns roughly how many bytes an entry has.
func (p *OutboxEntry) Size() int {
	n := 400
	if p.Message != nil {
		n += len(p.Message.Payload) + len(p.Message.Message)
	}
	if p.Event != nil {
		n += len(p.Event.Detail)
	}
	return n
}
