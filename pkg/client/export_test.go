package client

// Limit has a client take answers of so many bytes, and connections that it dials from now on.
func Limit(c *Client, most int64) { c.most = most }
