package cmd

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/park"
)

func newMailboxCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "mailbox",
		Short: "Read the outcomes of tasks",
		Long: `A mailbox keeps the outcomes of tasks for one tenant and key, until they are trimmed or reach the retention time.
Reading removes nothing.`,
		Example: "  parkd mailbox poll\n  parkd mailbox trim --up-to 17",
		RunE:    runGroup,
	}
	c.AddCommand(newMailboxPollCommand(g), newMailboxTrimCommand(g))
	setExitCodes(c, exitDone, exitUsage)
	return c
}

type pollOptions struct {
	mailboxFlags
	since  string
	wait   duration
	follow bool
	limit  int
	given  func(flag string) bool
}

func newMailboxPollCommand(g *globals) *cobra.Command {
	var o pollOptions
	c := &cobra.Command{
		Use:   "poll [flags]",
		Short: "Print the outcomes of tasks",
		Long: `Prints the messages of a mailbox, oldest first. Without flags it reads the mailbox that 'parkd submit' uses
without flags, so it shows how your own tasks ended.

With --wait it waits for a first message, and exits with 124 if none arrives. With --follow it keeps printing new
messages until it is interrupted.`,
		Example: `  parkd mailbox poll
  parkd mailbox poll --since 1h
  parkd mailbox poll --tenant acme --mailbox alice --wait 30s
  parkd mailbox poll --since 17 --follow -o ndjson`,
		Args: noArgs,
		RunE: g.run(func(ctx context.Context, _ []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runMailboxPoll(ctx, g, svc, o)
		}),
	}
	fs := c.Flags()
	o.given = fs.Changed
	fs.StringVar(&o.since, "since", "", "only messages since: a duration ago (10m), an RFC 3339 time, or after the message with this id")
	fs.Var(&o.wait, "wait", "wait this long for a first message")
	fs.BoolVarP(&o.follow, "follow", "f", false, "keep printing new messages")
	fs.IntVar(&o.limit, "limit", 0, "maximum number of messages to print (default all)")
	o.flags(fs, "mailbox to read")
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon, exitTimedOut, exitInterrupted)
	return c
}

func runMailboxPoll(ctx context.Context, g *globals, svc park.Service, o pollOptions) error {
	q, err := o.query(g.now())
	if err != nil {
		return err
	}
	if o.follow {
		return followMailbox(ctx, g, svc, q, o.limit)
	}
	if o.given("wait") {
		if err := awaitMessage(ctx, g, svc, q, time.Duration(o.wait)); err != nil {
			return err
		}
	}
	page, err := readMailbox(ctx, svc, q, o.limit)
	if err != nil {
		return err
	}
	if len(page.Messages) == 0 && g.output.forPeople() {
		g.notice("Mailbox %s of tenant %s has no messages%s.", q.Key, q.Tenant, sinceText(o.since))
		return nil
	}
	return messageList().print(g.printer(), page, page.Messages)
}

func sinceText(since string) string {
	if since == "" {
		return ""
	}
	return " since " + since
}

// query parses --since: anything but a duration or a time is a message's id.
func (o *pollOptions) query(now time.Time) (park.MailboxQuery, error) {
	q := park.MailboxQuery{Tenant: o.tenant, Key: o.mailbox}
	if err := park.CheckName("--tenant", o.tenant); err != nil {
		return q, err
	}
	if err := park.CheckName("--mailbox", o.mailbox); err != nil {
		return q, err
	}
	if o.limit < 0 || o.limit == 0 && o.given("limit") {
		return q, usagef("--limit must be at least 1, not %d; leave it out to print all", o.limit)
	}
	if o.since == "" {
		return q, nil
	}
	at, err := parsePast("since", o.since, now)
	if err != nil {
		q.After = o.since
	} else {
		q.Since = at
	}
	return q, nil
}

// messagePageSize is the maximum number of messages in one response.
const messagePageSize = 1000

// readMailbox reads page after page, up to limit messages; 0 means all.
func readMailbox(ctx context.Context, svc park.Service, q park.MailboxQuery, limit int) (park.MessagePage, error) {
	all := park.MessagePage{Messages: []park.Message{}, Next: q.After}
	pageSize := messagePageSize
	for limit == 0 || len(all.Messages) < limit {
		q.Limit = pageSize
		if limit > 0 {
			q.Limit = min(pageSize, limit-len(all.Messages))
		}
		page, err := svc.Mailbox(ctx, q)
		if reducePageSize(&pageSize, q.Limit, err) {
			continue
		}
		if err != nil {
			return all, err
		}
		all.Messages = append(all.Messages, page.Messages...)
		all.Next = page.Next
		// A page may have fewer messages than requested if they are large.
		if len(page.Messages) == 0 {
			break
		}
		q.Since, q.After = park.Time{}, page.Next
	}
	return all, nil
}

// awaitMessage returns when the mailbox has a message.
func awaitMessage(ctx context.Context, g *globals, svc park.Service, q park.MailboxQuery, wait time.Duration) error {
	outer := ctx
	q.Limit = 1
	if wait == 0 {
		found, err := svc.Mailbox(ctx, q)
		if err == nil && len(found.Messages) == 0 {
			err = timedOutf("mailbox %s of tenant %s has no messages", q.Key, q.Tenant)
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		found, err := pollMailbox(ctx, g, svc, q)
		switch {
		case outer.Err() != nil:
			return outer.Err()
		case ctx.Err() != nil && len(found.Messages) == 0:
			return timedOutf("mailbox %s of tenant %s has no messages after %s", q.Key, q.Tenant, wait)
		case err != nil || len(found.Messages) > 0:
			return err
		}
	}
}

// pollMailbox sends one request, which waits for messages for a limited time.
func pollMailbox(ctx context.Context, g *globals, svc park.Service, q park.MailboxQuery) (page park.MessagePage, err error) {
	q.Wait = longPoll
	if end, ok := ctx.Deadline(); ok {
		q.Wait = min(longPoll, max(time.Until(end), 0))
	}
	err = g.retryForever().do(ctx, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, q.Wait+answerMargin)
		defer cancel()
		page, err = svc.Mailbox(ctx, q)
		return err
	})
	return page, err
}

// followMailbox prints new messages until it is interrupted or has printed limit of them.
func followMailbox(ctx context.Context, g *globals, svc park.Service, q park.MailboxQuery, limit int) error {
	out := newStream(g.printer(), messageList())
	for printed := 0; limit == 0 || printed < limit; {
		page, err := pollMailbox(ctx, g, svc, q)
		if err != nil {
			return err
		}
		for _, m := range page.Messages {
			if limit > 0 && printed == limit {
				break
			}
			if err := out.print(m); err != nil {
				return err
			}
			printed++
		}
		if page.Next != "" {
			q.Since, q.After = park.Time{}, page.Next
		}
	}
	return nil
}

type trimOptions struct {
	mailboxFlags
	upTo string
}

func newMailboxTrimCommand(g *globals) *cobra.Command {
	var o trimOptions
	c := &cobra.Command{
		Use:     "trim [flags]",
		Short:   "Remove messages from a mailbox",
		Long:    "Removes the messages of a mailbox, up to and including the given one.",
		Example: "  parkd mailbox trim --up-to 17\n  parkd mailbox trim --up-to \"$(parkd mailbox poll -o json | jq -r .next)\"",
		Args:    noArgs,
		RunE: g.run(func(ctx context.Context, _ []string) error {
			if o.upTo == "" {
				return usagef("--up-to is required: the id of the last message to remove")
			}
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return svc.TrimMailbox(ctx, o.tenant, o.mailbox, o.upTo)
		}),
	}
	c.Flags().StringVar(&o.upTo, "up-to", "", "id of the last message to remove")
	o.flags(c.Flags(), "mailbox to trim")
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon)
	return c
}
