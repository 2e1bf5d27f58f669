package client

// Limit has a client take answers of so many bytes.
func Limit(c *Client, most int64) { c.most = most }
