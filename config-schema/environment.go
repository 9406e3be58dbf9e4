// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"strings"
)

// Environment holds variables by name. The values count as secrets: the URL of
// a proxy may hold a password.
type Environment map[string]Secret

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// systemVariables are those that systemd and the image's programs need as they
// are.
var systemVariables = set("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT",
	"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY",
	"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "RUNTIME_DIRECTORY")

func (e *Environment) check(s scope) {
	for name := range *e {
		switch {
		case !variableName.MatchString(name):
			s.problem(s.at(name), quote(name)+" is not the name of a variable", "letters, digits and _")
		case systemVariables[name]:
			s.problem(s.at(name), quote(name)+" is the system's own", "set it in the commands or pods that need it")
		}
	}
	e.checkSecrets(s)
}

func (e *Environment) checkSecrets(s scope) {
	for name, value := range *e {
		if strings.ContainsAny(value.Reveal(), "\n\r") {
			s.problem(s.at(name), "a value is one line", "")
		}
	}
}

// Proxied says whether requests go through a proxy.
func (e Environment) Proxied() bool {
	for name, value := range e {
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY":
			if value != "" {
				return true
			}
		}
	}
	return false
}
