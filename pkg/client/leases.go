package client

import (
	"context"
	"net/http"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Lease implements [park.LeaseService].
func (c *Client) Lease(ctx context.Context, pool string, r park.LeaseRequest) ([]park.Lease, error) {
	var page park.LeasePage
	req := request{method: http.MethodPost, path: path("pools", pool, "leases"), body: r, wait: time.Duration(r.Wait)}
	err := c.call(ctx, req, &page)
	return page.Leases, err
}

// KeepLease implements [park.LeaseService].
func (c *Client) KeepLease(ctx context.Context, leaseID string, r park.KeepRequest) (park.Kept, error) {
	var kept park.Kept
	err := c.call(ctx, request{method: http.MethodPut, path: path("leases", leaseID), body: r}, &kept)
	return kept, err
}

// EndLease implements [park.LeaseService].
func (c *Client) EndLease(ctx context.Context, leaseID string, r park.LeaseResult) error {
	return c.call(ctx, request{method: http.MethodPost, path: path("leases", leaseID, "complete"), body: r}, nil)
}

// ReleaseLease implements [park.LeaseService].
func (c *Client) ReleaseLease(ctx context.Context, leaseID string, r park.LeaseRelease) error {
	return c.call(ctx, request{method: http.MethodPost, path: path("leases", leaseID, "release"), body: r}, nil)
}
