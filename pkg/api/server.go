package api

import (
	"log/slog"
	"net/http"
	"time"
)

// Limits of a connection. There is none on a whole request, for it may wait or follow; what is read and
// written has limits of its own.
const (
	headersWithin = 5 * time.Second
	idleWithin    = 2 * time.Minute
	bodyWithin    = 30 * time.Second
	writeWithin   = 30 * time.Second
	maxHeaders    = 16 << 10
)

// Server returns a server for one of the handlers. A request may last long: only its headers, its body and each write
// of its answer have limits. net/http itself answers requests whose headers are malformed.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headersWithin, IdleTimeout: idleWithin, MaxHeaderBytes: maxHeaders,
		// It counts from the headers. A handler that waits before it writes sets it again.
		WriteTimeout:                 writeWithin,
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * without authentication
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
