// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"strings"
)

// maxInterfaceName is the kernel's limit, in bytes.
const maxInterfaceName = 15

var (
	interfaceName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	onlyDigits    = regexp.MustCompile(`^[0-9]+$`)
	// definitionName is wider: a card that match finds may be called anything
	// that is fit for the name of a file.
	definitionName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,63}$`)
)

// podInterfaces begin the names of the interfaces that flannel, kube-proxy and
// the CNI plugins make. The overlay's 70-skerry-pods.network has the same list.
var podInterfaces = []string{"cni", "flannel", "veth", "kube-", "nodelocaldns"}

// interfaceName checks the name that an interface is to have.
func (s scope) interfaceName(at, name string) {
	switch {
	case name == "lo":
		s.problem(at, "lo is the loopback of every machine", "it needs no definition")
	case isPodInterface(name):
		s.problem(at, quote(name)+" is an interface of the pod network", "choose another name: cni*, flannel*, veth*, kube-* and nodelocaldns belong to Kubernetes")
	case len(name) > maxInterfaceName:
		s.problem(at, quote(name)+" is too long for the name of an interface", "15 characters at most")
	case !interfaceName.MatchString(name) || onlyDigits.MatchString(name) || name == "all" || name == "default":
		s.problem(at, quote(name)+" is not the name of an interface", "letters, digits, -, _ and ., at most 15")
	}
}

// definitionName checks a name that only definitions know.
func (s scope) definitionName(at, name string) {
	if !definitionName.MatchString(name) {
		s.problem(at, quote(clip(name))+" is not a name for a definition", "letters, digits, -, _, ., : and @")
	}
}

func isPodInterface(name string) bool {
	for _, prefix := range podInterfaces {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
