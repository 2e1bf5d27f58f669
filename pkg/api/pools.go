package api

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

type poolList struct {
	Pools []park.Pool `json:"pools"`
}

func (c *call) listPools() error {
	pools, err := c.svc.Pools(c.r.Context())
	if err != nil {
		return err
	}
	return c.ok(poolList{pools})
}

func (c *call) getPool() error {
	p, err := c.svc.Pool(c.r.Context(), c.pool())
	if err != nil {
		return err
	}
	return c.ok(p)
}

func (c *call) patchPool() error {
	var patch park.PoolPatch
	if err := c.decode(&patch); err != nil {
		return err
	}
	p, err := c.svc.SetPool(c.r.Context(), c.pool(), patch)
	if err != nil {
		return err
	}
	return c.ok(p)
}

func (c *call) lease() error {
	var r park.LeaseRequest
	if err := c.decode(&r); err != nil {
		return err
	}
	r.Wait = min(r.Wait, park.Duration(maxWait))
	ctx, closing, done, err := c.waitContext(time.Duration(r.Wait))
	if err != nil {
		return err
	}
	defer done()
	leases, err := c.svc.Lease(ctx, c.pool(), r)
	if err != nil && !closing() {
		return err
	}
	if leases == nil {
		leases = []park.Lease{}
	}
	return c.ok(park.LeasePage{Leases: leases})
}

func (c *call) keepLease() error {
	var r park.KeepRequest
	if err := c.decode(&r); err != nil {
		return err
	}
	kept, err := c.svc.KeepLease(c.r.Context(), c.r.PathValue("leaseId"), r)
	if err != nil {
		return err
	}
	return c.ok(kept)
}

// leaseEnded confirms the end of a lease's task.
type leaseEnded struct {
	LeaseID string      `json:"leaseId"`
	Status  park.Status `json:"status"`
}

func (c *call) endLease() error {
	var r park.LeaseResult
	if err := c.decode(&r); err != nil {
		return err
	}
	id := c.r.PathValue("leaseId")
	if err := c.svc.EndLease(c.r.Context(), id, r); err != nil {
		return err
	}
	return c.ok(leaseEnded{id, r.Status})
}

// leaseReleased confirms that a lease was given back.
type leaseReleased struct {
	LeaseID string      `json:"leaseId"`
	Status  park.Status `json:"status"`
}

func (c *call) releaseLease() error {
	var r park.LeaseRelease
	if err := c.decode(&r); err != nil {
		return err
	}
	id := c.r.PathValue("leaseId")
	if err := c.svc.ReleaseLease(c.r.Context(), id, r); err != nil {
		return err
	}
	return c.ok(leaseReleased{id, park.Queued})
}
