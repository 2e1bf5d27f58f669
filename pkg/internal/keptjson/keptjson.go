// Package keptjson checks JSON that parkd stores unchanged: payloads and results.
package keptjson

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep a payload or a result may nest. Both become parts of larger documents, and many JSON parsers
// accept no more than some hundred levels.
const MaxDepth = 500

// Check checks JSON that parkd keeps, wherever it comes from: it must be one value after RFC 8259, in UTF-8, nested no
// deeper than [MaxDepth]. Since parkd does not read its names and strings, a name may be given twice and an escape may
// stand for half of a surrogate pair. The error says what is wrong, without a subject. The caller bounds the length.
func Check(b []byte) error {
	lenient := []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	switch {
	case !utf8.Valid(b):
		return errors.New("is not UTF-8")
	case tooDeep(b, lenient...):
		return fmt.Errorf("is nested deeper than %d levels", MaxDepth)
	case !jsontext.Value(b).IsValid(lenient...):
		return errors.New("is not JSON")
	}
	return nil
}

func tooDeep(b []byte, o ...jsontext.Options) bool {
	if bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) <= MaxDepth {
		return false
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(b), o...)
	for d.StackDepth() <= MaxDepth {
		if _, err := d.ReadToken(); err != nil {
			return false
		}
	}
	return true
}
