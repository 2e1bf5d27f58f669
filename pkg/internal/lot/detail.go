package lot

import (
	"encoding/json"

	"github.com/parkd-dev/parkd/pkg/park"
)

// detail returns the JSON object of the given keys and text values.
func detail(pairs ...string) []byte {
	var d details
	for i := 0; i+1 < len(pairs); i += 2 {
		d.text(pairs[i], pairs[i+1])
	}
	return d.json()
}

// details builds a JSON object. Its keys are constants of this package and need no escaping.
type details []byte

func (d *details) add(key string, value []byte) {
	if len(*d) == 0 {
		*d = append(*d, '{')
	} else {
		*d = append(*d, ',')
	}
	*d = append(*d, '"')
	*d = append(*d, key...)
	*d = append(*d, '"', ':')
	*d = append(*d, value...)
}

func (d *details) text(key, value string) {
	b, _ := json.Marshal(value)
	d.add(key, b)
}

func (d *details) time(key string, value park.Time) {
	b, _ := json.Marshal(value) // an accepted time has a year that JSON can express
	d.add(key, b)
}

// change adds the old and the new value, both in JSON.
func (d *details) change(key, from, to string) {
	d.add(key, []byte(`{"from":`+from+`,"to":`+to+`}`))
}

func (d *details) json() []byte { return append(*d, '}') }
