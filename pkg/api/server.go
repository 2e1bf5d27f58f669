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

// Server returns a server for one of the handlers. A request may last: what bounds it are the limits on its
// headers, its body, and each write of its answer. What is wrong with the headers themselves net/http answers
// in its own words.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headersWithin, IdleTimeout: idleWithin, MaxHeaderBytes: maxHeaders,
		// Counts from the headers on; whoever waits before he writes sets it anew.
		WriteTimeout:                 writeWithin,
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * to anybody
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
