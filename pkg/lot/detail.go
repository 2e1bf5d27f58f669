package lot

import "encoding/json"

// detail returns the JSON object of the given keys and text values.
func detail(pairs ...string) []byte {
	var d details
	for i := 0; i+1 < len(pairs); i += 2 {
		b, _ := json.Marshal(pairs[i+1])
		d.add(pairs[i], b)
	}
	return d.json()
}

// details is a JSON object under way. Its keys are constants of this package and need no escaping.
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

// change adds what a value was and is, both in JSON.
func (d *details) change(key, from, to string) {
	d.add(key, []byte(`{"from":`+from+`,"to":`+to+`}`))
}

func (d *details) json() []byte { return append(*d, '}') }
