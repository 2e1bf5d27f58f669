package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/parkd-dev/parkd/pkg/park"
)

// fingerprint returns a hash of the pool's whole configuration. Zero values are left out, so that an unused setting of
// a newer version makes no difference between versions.
func (p *Pool) fingerprint() string {
	text, err := json.Marshal(struct {
		Spec park.PoolSpec
		More any
	}{p.PoolSpec, p.Settings})
	if err != nil {
		return ""
	}
	var all any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&all) != nil {
		return ""
	}
	if text, err = json.Marshal(withoutZeros(all)); err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// withoutZeros removes zero fields from objects, recursively. It returns nil for a zero.
func withoutZeros(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, field := range v {
			if v[key] = withoutZeros(field); v[key] == nil {
				delete(v, key)
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	case json.Number:
		if v == "0" {
			return nil
		}
	}
	return v
}
