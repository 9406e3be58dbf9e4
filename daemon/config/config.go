// SPDX-License-Identifier: Apache-2.0

// Package config turns what the sources have into the configuration of this
// boot: the first document there is, merged with the other layers and parsed
// strictly, or every problem of it. Media are asked first, then the network, and
// the kept copy stands in for both.
//
// There is no half of a configuration: a document with one problem configures
// nothing, and doesn't fall back to an older one either, for a machine that
// runs another configuration than the one it was given is the harder riddle.
package config

import (
	"fmt"
	"slices"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/source"
)

// Loaded is the valid configuration of this boot.
type Loaded struct {
	Document *source.Document
	// Given is the document as its source has it, where another user-data was
	// applied in its place, and else the same.
	Given  *source.Document
	Config *configschema.Config
	// Layers are what the configuration was made of; Merged knows where each of
	// its values is from.
	Layers *Layers
	Merged *configschema.Merged
	// Network is what the cloud-config or else the source says of the network;
	// nil when neither does.
	Network *configschema.Network
	// Hostname is one label, never empty. FQDN is the same where there is no
	// domain.
	Hostname, FQDN string
	// InstanceID is for which machine a medium or cloud says the configuration
	// is. It is empty where none does, and where only the kept copy says so: that
	// was copied with the disk.
	InstanceID string
}

// name decides the machine's name: what the user wrote, what the meta-data
// says, and else one of its own made from the machine-id.
func (l *Loaded) name(machineIDFile string) error {
	l.Hostname, l.FQDN = l.Config.Name()
	if l.Hostname != "" {
		return nil
	}
	if given := l.Document.LocalHostname; given != "" {
		problem := configschema.CheckHostname(given)
		if problem != "" {
			return fmt.Errorf("local-hostname in the meta-data of %s: %s", l.Document.Name, problem)
		}
		l.Hostname, l.FQDN = configschema.SplitHostname(given, "")
		return nil
	}
	id, err := identity.MachineID(machineIDFile)
	if err != nil {
		return fmt.Errorf("make a hostname: %w", err)
	}
	l.Hostname = "skerry-" + id[:8]
	l.FQDN = l.Hostname
	return nil
}

// consoleProblems bounds how many problems are shown on a console, whose
// screen is small and whose first lines are gone when more follow.
const consoleProblems = 20

// Console returns lines for the console that say what is wrong, where, and what
// to do. Each problem is on a line of its own, as Problem.String has it.
func Console(problems configschema.Problems) []string {
	const rule = "======================================================================"
	lines := []string{
		rule,
		fmt.Sprintf("The cloud-config of this machine has %s:", count(len(problems), "problem")),
		"",
	}
	for i, p := range problems {
		if i == consoleProblems {
			lines = append(lines, fmt.Sprintf("  ... and %d more", len(problems)-i))
			break
		}
		lines = append(lines, "  "+printable(p.String()))
	}
	return append(lines,
		"",
		"Nothing of it was applied, and Kubernetes was not started.",
		"Correct the file (the numbers are line and column), write it to its",
		"medium, and reboot. To check it beforehand, on any machine:",
		"  skerry config validate "+strings.Join(fileNames(problems), " "),
		rule,
	)
}

// fileNames are the files that have problems, in their order.
func fileNames(problems configschema.Problems) []string {
	var names []string
	for _, p := range problems {
		if !slices.Contains(names, p.File) {
			names = append(names, p.File)
		}
	}
	return names
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// printable keeps what a stranger wrote from steering the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
