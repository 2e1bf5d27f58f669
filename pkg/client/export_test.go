package client

// Limit sets the maximum size of the answers that a client accepts.
func Limit(c *Client, most int64) { c.maxAnswer = most }
