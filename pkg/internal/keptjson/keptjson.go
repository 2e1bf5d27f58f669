// Package keptjson checks JSON that parkd keeps as it is: payloads and results.
package keptjson

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep a payload or a result may nest. It is read as a part of larger documents, and many readers of JSON go
// no deeper than some hundred levels.
const MaxDepth = 500

// Check is the one check of JSON that parkd keeps, wherever it comes from: one value after RFC 8259, in UTF-8, nested no
// deeper than [MaxDepth]. A name may be given twice, and an escape may stand for half of a surrogate pair, since nobody here
// reads them. The error says what is wrong, without a subject. The caller bounds the length.
func Check(b []byte) error {
	asItIs := []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	switch {
	case !utf8.Valid(b):
		return errors.New("is not UTF-8")
	case tooDeep(b, asItIs...):
		return fmt.Errorf("is nested deeper than %d levels", MaxDepth)
	case !jsontext.Value(b).IsValid(asItIs...):
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
