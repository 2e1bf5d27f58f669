package api

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// tenantView is a service as one tenant sees it. The tenant does not see tasks and events of others, cannot access
// their mailboxes, and submits tasks only for itself. Every tenant sees all pools and how full they are, because
// clients need to know where there is room. A tenant cannot change pools or lease tasks, since leased tasks may belong
// to any tenant.
//
// It embeds nothing: a new method of the service is closed until it is opened here.
type tenantView struct {
	service park.Service
	tenant  string
}

var _ park.Service = tenantView{}

// checkTenant refuses every tenant but the view's own. "" stands for the view's own.
func (v tenantView) checkTenant(tenant string) error {
	if tenant == "" || tenant == v.tenant {
		return nil
	}
	return park.Errorf(park.Forbidden, "the token is bound to tenant %s and has no access to tenant %s", v.tenant, tenant)
}

// Submit implements [park.TaskService].
func (v tenantView) Submit(ctx context.Context, pool string, tasks []park.Submission) ([]park.SubmitResult, error) {
	out := make([]park.SubmitResult, len(tasks))
	own := make([]park.Submission, 0, len(tasks))
	indexes := make([]int, 0, len(tasks))
	for i, t := range tasks {
		if t.Tenant == "" && t.MailboxKey.Tenant == "" {
			t.Tenant = v.tenant
		}
		t.OwnIDs = true
		foreign := v.checkTenant(t.Tenant)
		if foreign == nil {
			foreign = v.checkTenant(t.MailboxKey.Tenant)
		}
		if foreign != nil {
			out[i].Err = park.Errorf(park.Forbidden, "%v", foreign)
			continue
		}
		own, indexes = append(own, t), append(indexes, i)
	}
	results, err := v.service.Submit(ctx, pool, own)
	if err != nil {
		return nil, err
	}
	for k, r := range results {
		out[indexes[k]] = r
	}
	return out, nil
}

// Task implements [park.TaskService].
func (v tenantView) Task(ctx context.Context, pool, id string, wait time.Duration) (park.Task, error) {
	t, err := v.find(ctx, pool, id)
	if err == nil && wait > 0 && !t.Status.Ended() {
		t, err = v.service.Task(ctx, pool, t.TaskID, wait)
	}
	return shownTask(t), shownError(err, id, v.tenant)
}

// Tasks implements [park.TaskService].
func (v tenantView) Tasks(ctx context.Context, pool string, q park.TaskQuery) (park.TaskPage, error) {
	if err := v.checkTenant(q.Tenant); err != nil {
		return park.TaskPage{}, err
	}
	q.Tenant = v.tenant
	page, err := v.service.Tasks(ctx, pool, q)
	for i := range page.Tasks {
		page.Tasks[i] = shownTask(page.Tasks[i])
	}
	return page, err
}

// Cancel implements [park.TaskService].
func (v tenantView) Cancel(ctx context.Context, pool, id string) (park.Task, error) {
	t, err := v.find(ctx, pool, id)
	if err == nil {
		t, err = v.service.Cancel(ctx, pool, t.TaskID)
	}
	return shownTask(t), shownError(err, id, v.tenant)
}

// Log implements [park.TaskService].
func (v tenantView) Log(ctx context.Context, pool, id string, q park.LogQuery) (*park.Log, error) {
	t, err := v.find(ctx, pool, id)
	if err != nil {
		return nil, err
	}
	log, err := v.service.Log(ctx, pool, t.TaskID, q)
	return log, shownError(err, id, v.tenant)
}

// Mailbox implements [park.MailboxService].
func (v tenantView) Mailbox(ctx context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	if err := v.checkTenant(q.Tenant); err != nil {
		return park.MessagePage{}, err
	}
	page, err := v.service.Mailbox(ctx, q)
	for i := range page.Messages {
		page.Messages[i].TaskID = park.ShownTaskID(page.Messages[i].TaskID)
	}
	return page, err
}

// TrimMailbox implements [park.MailboxService].
func (v tenantView) TrimMailbox(ctx context.Context, tenant, key, upTo string) error {
	if err := v.checkTenant(tenant); err != nil {
		return err
	}
	return v.service.TrimMailbox(ctx, tenant, key, upTo)
}

// Pools implements [park.PoolService].
func (v tenantView) Pools(ctx context.Context) ([]park.Pool, error) { return v.service.Pools(ctx) }

// Pool implements [park.PoolService].
func (v tenantView) Pool(ctx context.Context, id string) (park.Pool, error) {
	return v.service.Pool(ctx, id)
}

// SetPool implements [park.PoolService].
func (v tenantView) SetPool(context.Context, string, park.PoolPatch) (park.Pool, error) {
	return park.Pool{}, v.forbidden()
}

// Lease implements [park.LeaseService].
func (v tenantView) Lease(context.Context, string, park.LeaseRequest) ([]park.Lease, error) {
	return nil, v.forbidden()
}

// KeepLease implements [park.LeaseService].
func (v tenantView) KeepLease(context.Context, string, park.KeepRequest) (park.Kept, error) {
	return park.Kept{}, v.forbidden()
}

// EndLease implements [park.LeaseService].
func (v tenantView) EndLease(context.Context, string, park.LeaseResult) error { return v.forbidden() }

func (v tenantView) forbidden() error {
	return park.Errorf(park.Forbidden, "the request concerns a whole pool, but the token is bound to tenant %s", v.tenant)
}

// ReleaseLease implements [park.LeaseService].
func (v tenantView) ReleaseLease(context.Context, string, park.LeaseRelease) error {
	return v.forbidden()
}

// Evidence implements [park.EvidenceService].
func (v tenantView) Evidence(context.Context, string) (park.Evidence, error) {
	return park.Evidence{}, v.forbidden()
}

// KeptEvents implements [park.EvidenceService].
func (v tenantView) KeptEvents(context.Context, string, park.KeptQuery) (page park.KeptPage[park.Event], err error) {
	return page, v.forbidden()
}

// KeptTasks implements [park.EvidenceService].
func (v tenantView) KeptTasks(context.Context, string, park.KeptQuery) (page park.KeptPage[park.KeptTask], err error) {
	return page, v.forbidden()
}

// KeptMessages implements [park.EvidenceService].
func (v tenantView) KeptMessages(context.Context, string, park.KeptQuery) (page park.KeptPage[park.KeptMessage], err error) {
	return page, v.forbidden()
}
