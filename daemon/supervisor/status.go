// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// statusError is an error that the client is told of. What cause says stays in
// the log.
type statusError struct {
	code    int
	reason  metav1.StatusReason
	message string
	cause   error
}

func (e *statusError) Error() string {
	if e.cause != nil {
		return e.message + ": " + e.cause.Error()
	}
	return e.message
}

func (e *statusError) Unwrap() error { return e.cause }

// because returns a copy of e that logs cause.
func (e *statusError) because(cause error) *statusError {
	c := *e
	c.cause = cause
	return &c
}

// saying returns a copy of e whose message tells what cause is: for callers who
// may know.
func (e *statusError) saying(cause error) *statusError {
	c := *e
	c.message += ": " + cause.Error()
	return &c
}

// The answers of the supervisor to requests it refuses.
var (
	errUnauthorized = &statusError{code: http.StatusUnauthorized, reason: metav1.StatusReasonUnauthorized, message: "Unauthorized"}
	errForbidden    = &statusError{code: http.StatusForbidden, reason: metav1.StatusReasonForbidden, message: "the caller is in none of the groups this endpoint is for"}
	errMethod       = &statusError{code: http.StatusMethodNotAllowed, reason: metav1.StatusReasonMethodNotAllowed, message: "method not allowed"}
	errStarting     = &statusError{code: http.StatusServiceUnavailable, reason: metav1.StatusReasonServiceUnavailable, message: "starting"}
	errUnavailable  = &statusError{code: http.StatusServiceUnavailable, reason: metav1.StatusReasonServiceUnavailable, message: "kube-apiserver can't be asked"}
	errEtcdDisabled = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "etcd disabled: this cluster is kept by SQLite or by a database of its own"}
	errTooMany      = &statusError{code: http.StatusTooManyRequests, reason: metav1.StatusReasonTooManyRequests, message: "too many requests in flight, try again later"}
	errBadGateway   = &statusError{code: http.StatusBadGateway, reason: metav1.StatusReasonUnknown, message: "dialing failed"}
	errInternal     = &statusError{code: http.StatusInternalServerError, reason: metav1.StatusReasonInternalError, message: "internal error"}
	errNodeHeaders  = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "node name or password not set"}
	errReservedName = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "node name is one of the names of the servers themselves; give the node another name"}
	errNodeName     = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "node name isn't a valid name"}
	errOtherNode    = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "node name doesn't match the client certificate's"}
	errCSR          = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "body isn't a certificate request that can be granted"}
	errAuthorities  = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "the authorities are not taken, and nothing was changed"}
	errToken        = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "the token is not replaced"}
	errSnapshot     = &statusError{code: http.StatusInternalServerError, reason: metav1.StatusReasonInternalError, message: "snapshot"}
	errNoSnapshot   = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "no snapshot is taken"}
	errEncryption   = &statusError{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, message: "the keys of Secrets stay as they are"}
	errNodeGone     = &statusError{code: http.StatusUnauthorized, reason: metav1.StatusReasonUnauthorized, message: "node doesn't exist"}
	errDuplicate    = &statusError{code: http.StatusConflict, reason: metav1.StatusReasonConflict, message: "another machine is connected as this node"}
	errNodePassword = &statusError{code: http.StatusForbidden, reason: metav1.StatusReasonForbidden, message: "node password rejected"}
)

func asStatus(err error) *statusError {
	var status *statusError
	if errors.As(err, &status) {
		return status
	}
	return errInternal.because(err)
}

// retryAfter is what agents are told to wait when too many come at once.
const retryAfter = "5"

// writeStatus answers as kube-apiserver would. The connection is closed, so that
// a client in front of several servers tries another.
func writeStatus(w http.ResponseWriter, e *statusError) {
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure,
		Message:  e.message,
		Reason:   e.reason,
		Code:     int32(e.code), //nolint:gosec // an HTTP code
	})
	if err != nil {
		body = []byte("{}")
	}
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if e.code == http.StatusTooManyRequests {
		h.Set("Retry-After", retryAfter)
	}
	w.WriteHeader(e.code)
	_, _ = w.Write(body) // the client's loss
}
