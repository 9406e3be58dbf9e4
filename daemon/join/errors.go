// SPDX-License-Identifier: Apache-2.0

package join

import (
	"errors"
	"fmt"
	"time"
)

// Why a server didn't let this node in. All but ErrConfig may pass, so Join
// tries again.
var (
	// ErrConfig: what the user gave can't work with any server.
	ErrConfig = errors.New("bad join configuration")
	// ErrUnreachable: there was no answer.
	ErrUnreachable = errors.New("unreachable")
	// ErrUntrusted: who answers doesn't hold a certificate of the CA it names.
	ErrUntrusted = errors.New("certificate isn't signed by the server's own CA")
	// ErrCAHash: who answers isn't the server the token was made by.
	ErrCAHash = errors.New("CA doesn't match the token's hash")
	// ErrToken: 401.
	ErrToken = errors.New("token refused")
	// ErrNodePassword: 403 on a node's certificates.
	ErrNodePassword = errors.New("node password rejected")
	// ErrDuplicate: 409, another machine is connected as this node.
	ErrDuplicate = errors.New("node is connected from another machine")
	// ErrStarting: 503.
	ErrStarting = errors.New("server is starting")
	// ErrBusy: 429.
	ErrBusy = errors.New("server is busy")
	// ErrTokenFile: on a server, its own control plane hasn't made the token yet.
	ErrTokenFile = errors.New("token file not readable")
	// errAnswer: anything else.
	errAnswer = errors.New("unexpected answer")
)

// kinds are the sentinels by which failures are told apart; what is none of them
// is errAnswer.
var kinds = []error{
	ErrUnreachable, ErrUntrusted, ErrCAHash, ErrToken, ErrNodePassword, ErrDuplicate, ErrStarting, ErrBusy, ErrTokenFile,
}

func kindOf(err error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return errAnswer
}

// explain says what went wrong and what to do, in one line.
func explain(server string, err error, retry time.Duration) string {
	return fmt.Sprintf("%s; trying again in %s", why(server, err), retry.Round(time.Second))
}

// why says what went wrong and what to do. The line about node passwords is K3s', for which users search.
func why(server string, err error) (what string) {
	switch kindOf(err) { //nolint:errorlint // kindOf returns the sentinels themselves
	case ErrUnreachable: //nolint:errorlint // the same
		what = fmt.Sprintf("cannot reach server %s: %v", server, cause(err))
	case ErrUntrusted:
		what = fmt.Sprintf("server %s is not trusted: %v", server, cause(err))
	case ErrCAHash:
		what = fmt.Sprintf("server %s has another CA than the one skerry.cluster.token was made by; refusing to join it: check skerry.cluster.server and skerry.cluster.token; if the cluster's CA was replaced, the new token is in the server's /var/lib/rancher/k3s/server/node-token", server)
	case ErrToken:
		what = fmt.Sprintf("server %s refused the token: check skerry.cluster.token; nothing was changed", server)
	case ErrNodePassword:
		what = "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag"
	case ErrDuplicate:
		what = fmt.Sprintf("duplicate node: %v; if the disk of this machine is a copy of that one's, give it another instance-id, or hostname", cause(err))
	case ErrStarting:
		what = fmt.Sprintf("server %s is starting", server)
	case ErrBusy:
		what = fmt.Sprintf("server %s is busy with other nodes", server)
	case ErrTokenFile:
		what = fmt.Sprintf("waiting for this server's own token: %v", cause(err))
	default:
		what = fmt.Sprintf("joining server %s failed: %v", server, err)
	}
	return what
}

// kindError gives err a kind without putting the kind into its text.
type kindError struct {
	kind error
	err  error
}

func (e *kindError) Error() string   { return e.kind.Error() + ": " + e.err.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }

// cause returns what lies below the kind of err.
func cause(err error) error {
	var k *kindError
	if errors.As(err, &k) {
		return k.err
	}
	return err
}
