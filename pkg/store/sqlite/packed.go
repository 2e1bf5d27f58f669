package sqlite

import (
	"errors"
	"strconv"
	"strings"
)

// To take a value out of a row costs more than to read it: so who reads a whole table has SQLite put many rows into one text,
// and takes that apart. A text that has the characters which end values and rows cannot be told apart again, and who finds
// one reads the same rows one by one.

// The ends of a value and of a row.
const (
	valueEnd = "\x1f"
	rowEnd   = "\x1e"
)

// packedRows is how many events are put into one text at most.
const maxPackedRows = 2_000

// errPacked says that a text cannot be taken apart.
var errPacked = errors.New("the rows cannot be told apart")

// packing is a statement that gets rows as one text, and how many those are. No value may be NULL, for that would be left out.
func packedQuery(values, page string) string {
	return "SELECT count(*), coalesce(group_concat(line, x'1e'), '') FROM (SELECT concat_ws(x'1f', " + values + ") AS line" + page + ")"
}

// unpacked is a text with rows.
type unpacker struct {
	text     string
	rowsLeft int // rows
	failed   bool
}

// unpack begins to take a text apart.
func newUnpacker(text string, rows, values int) (*unpacker, error) {
	if rows > 0 && (strings.Count(text, valueEnd) != rows*(values-1) || strings.Count(text, rowEnd) != rows-1) {
		return nil, errPacked
	}
	return &unpacker{text: text, rowsLeft: rows}, nil
}

// next returns the next value of a row, and last the one that ends it.
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
