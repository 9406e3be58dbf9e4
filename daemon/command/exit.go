// SPDX-License-Identifier: Apache-2.0

// Package command is what the command lines of skerry and skerry-kube have in
// common: exit codes, and the formats in which commands print state.
//
// It must not link Kubernetes.
package command

import "errors"

// Exit codes. They are part of the command line's contract.
const (
	ExitOK       = 0
	ExitFailed   = 1 // the command could not do what it was asked to
	ExitUsage    = 2 // the command line is wrong
	ExitNotReady = 3 // `skerry status`: the node is not Ready
	ExitBusy     = 4 // `skerry config apply` and `skerry upgrade`: another change or the boot is under way
	ExitReverted = 5 // `skerry config apply --try`: it was not confirmed
	ExitRefused  = 6 // `skerry upgrade`: the payload, or what was asked for, doesn't fit this machine
)

// ExitCodes explains them in a help text.
const ExitCodes = `Exit codes:
  0  done
  1  failed; the reason is on standard error
  2  the command line is wrong
  3  status: the node is not Ready
  4  config apply: the boot or another change is under way; nothing was changed
     upgrade: another upgrade is under way; nothing was changed
  5  config apply --try: it was not confirmed, and was taken back
  6  upgrade: refused, for the payload isn't signed by a trusted key, or doesn't fit; nothing was changed`

// exitError carries the exit code of a command that failed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// Exit gives err an exit code.
func Exit(code int, err error) error { return &exitError{code: code, err: err} }

// Failed marks err as the failure of a command that was called correctly.
func Failed(err error) error {
	if err == nil {
		return nil
	}
	return Exit(ExitFailed, err)
}

// ExitCode is the code of an error that a command line ended with. An error
// without one is about the command line itself.
func ExitCode(err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return exit.code
	}
	return ExitUsage
}
