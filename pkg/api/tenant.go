package api

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// tenantView is a service as one tenant sees it: the tasks and events of others are not there, their mailboxes
// are closed, and a task is submitted for nobody else. Pools are seen by all, with how full they are, for a
// client must know where there is room; to steer them, and to lease tasks of whatever tenant, is not for a
// tenant.
//
// It embeds nothing: what a service can do anew is closed until it is opened here.
type tenantView struct {
	service park.Service
	tenant  string
}

var _ park.Service = tenantView{}

// only refuses every tenant but the view's own; "" stands for that.
func (v tenantView) only(tenant string) error {
	if tenant == "" || tenant == v.tenant {
		return nil
	}
	return park.Errorf(park.Forbidden, "the token is bound to tenant %s and has no access to tenant %s", v.tenant, tenant)
}

// Submit implements [park.TaskService].
func (v tenantView) Submit(ctx context.Context, pool string, tasks []park.Submission) ([]park.SubmitResult, error) {
	out := make([]park.SubmitResult, len(tasks))
	own := make([]park.Submission, 0, len(tasks))
	places := make([]int, 0, len(tasks))
	for i, t := range tasks {
		if t.Tenant == "" && t.MailboxKey.Tenant == "" {
			t.Tenant = v.tenant
		}
		t.OwnIDs = true
		foreign := v.only(t.Tenant)
		if foreign == nil {
			foreign = v.only(t.MailboxKey.Tenant)
		}
		if foreign != nil {
			out[i].Err = park.Errorf(park.Forbidden, "%v", foreign)
			continue
		}
		own, places = append(own, t), append(places, i)
	}
	results, err := v.service.Submit(ctx, pool, own)
	if err != nil {
		return nil, err
	}
	for k, r := range results {
		out[places[k]] = r
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
	if err := v.only(q.Tenant); err != nil {
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
	if err := v.only(q.Tenant); err != nil {
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
	if err := v.only(tenant); err != nil {
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
	return park.Pool{}, v.closed()
}

// Lease implements [park.LeaseService].
func (v tenantView) Lease(context.Context, string, park.LeaseRequest) ([]park.Lease, error) {
	return nil, v.closed()
}

// KeepLease implements [park.LeaseService].
func (v tenantView) KeepLease(context.Context, string, park.KeepRequest) (park.Kept, error) {
	return park.Kept{}, v.closed()
}

// EndLease implements [park.LeaseService].
func (v tenantView) EndLease(context.Context, string, park.LeaseResult) error { return v.closed() }

func (v tenantView) closed() error {
	return park.Errorf(park.Forbidden, "the request concerns a whole pool, but the token is bound to tenant %s", v.tenant)
}

// ReleaseLease implements [park.LeaseService].
func (v tenantView) ReleaseLease(context.Context, string, park.LeaseRelease) error { return v.closed() }

// Evidence implements [park.EvidenceService].
func (v tenantView) Evidence(context.Context, string) (park.Evidence, error) {
	return park.Evidence{}, v.closed()
}

// KeptEvents implements [park.EvidenceService].
func (v tenantView) KeptEvents(context.Context, string, park.KeptQuery) (page park.KeptPage[park.Event], err error) {
	return page, v.closed()
}

// KeptTasks implements [park.EvidenceService].
func (v tenantView) KeptTasks(context.Context, string, park.KeptQuery) (page park.KeptPage[park.KeptTask], err error) {
	return page, v.closed()
}

// KeptMessages implements [park.EvidenceService].
func (v tenantView) KeptMessages(context.Context, string, park.KeptQuery) (page park.KeptPage[park.KeptMessage], err error) {
	return page, v.closed()
}
