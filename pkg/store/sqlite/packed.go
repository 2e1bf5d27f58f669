package sqlite

import (
	"errors"
	"strconv"
	"strings"
)

// Taking a value out of a row costs more than reading it. So a reader of a whole table has SQLite concatenate many rows
// into one text, and splits that text. If a value has the characters that end values and rows, the text cannot be
// split, and the reader reads the same rows one by one.

// The ends of a value and of a row.
const (
	valueEnd = "\x1f"
	rowEnd   = "\x1e"
)

// maxPackedRows is how many events one text has at most.
const maxPackedRows = 2_000

// errPacked says that a text cannot be split.
var errPacked = errors.New("the text cannot be split into rows")

// packedQuery returns a query of the number of rows and of their text. No value may be NULL, because concat_ws leaves
// NULLs out.
func packedQuery(values, page string) string {
	return "SELECT count(*), coalesce(group_concat(line, x'1e'), '') FROM (SELECT concat_ws(x'1f', " + values + ") AS line" + page + ")"
}

// unpacker splits a text into rows and values.
type unpacker struct {
	text     string
	rowsLeft int
	failed   bool
}

// newUnpacker returns errPacked if the text cannot have this number of rows and values.
func newUnpacker(text string, rows, values int) (*unpacker, error) {
	if rows > 0 && (strings.Count(text, valueEnd) != rows*(values-1) || strings.Count(text, rowEnd) != rows-1) {
		return nil, errPacked
	}
	return &unpacker{text: text, rowsLeft: rows}, nil
}

// next returns the next value of a row. last returns the last value of a row.
func (u *unpacker) next() string { return u.cut(valueEnd[0]) }

func (u *unpacker) last() string {
	u.rowsLeft--
	return u.cut(rowEnd[0])
}

func (u *unpacker) cut(end byte) (v string) {
	i := strings.IndexByte(u.text, end)
	if i < 0 {
		v, u.text = u.text, ""
		return v
	}
	v, u.text = u.text[:i], u.text[i+1:]
	return v
}

func (u *unpacker) int() int64 {
	n, err := strconv.ParseInt(u.next(), 10, 64)
	u.failed = u.failed || err != nil
	return n
}

func (u *unpacker) err() error {
	if u.failed {
		return errPacked
	}
	return nil
}
