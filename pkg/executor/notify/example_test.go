package notify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/parkd-dev/parkd/pkg/executor/notify"
	"github.com/parkd-dev/parkd/pkg/park"
)

// secret is the same in the daemon's configuration and at the receiver.
const secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

// A receiver of webhooks checks the signature before it reads the message. The same message may come more than once:
// then it has the same Webhook-Id.
func ExampleVerify() {
	receiver := httptest.NewServer(http.HandlerFunc(receive))
	defer receiver.Close()

	daemon, err := notify.New(notify.Config{BaseURL: receiver.URL, Secret: secret})
	if err != nil {
		log.Fatal(err)
	}
	message := park.Message{ID: "1", TaskID: "render-41", PoolID: "gpu", Tenant: "acme", Key: "alice", Status: park.Completed}
	if err := daemon.Notify(context.Background(), "gpu", message); err != nil {
		log.Fatal(err)
	}
	// Output: task render-41 of acme/alice is completed
}

func receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<20))
	if err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	if err := notify.Verify(secret, r.Header, body, time.Now(), 5*time.Minute); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var n notify.Notification
	if err := json.Unmarshal(body, &n); err != nil {
		http.Error(w, "not a notification", http.StatusBadRequest)
		return
	}
	fmt.Printf("task %s of %s/%s is %s\n", n.TaskID, n.Tenant, n.MailboxKey, n.Status)
}
