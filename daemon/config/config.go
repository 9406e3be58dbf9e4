// SPDX-License-Identifier: Apache-2.0

// Package config turns what the sources have into the configuration of this
// boot: the first document there is, parsed strictly, or every problem of it.
//
// There is no half of a configuration: a document with one problem configures
// nothing, and doesn't fall back to an older one either, for a machine that
// runs another configuration than the one it was given is the harder riddle.
package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/source"
)

// ErrNone says that no source has a configuration.
var ErrNone = errors.New("no cloud-config was found: attach a volume labelled cidata with a file named user-data, and boot again")

// Loaded is the valid configuration of this boot.
type Loaded struct {
	Document *source.Document
	Config   *configschema.Config
	// Hostname is one label, never empty. FQDN is the same where there is no
	// domain.
	Hostname, FQDN string
}

// Load asks the sources in order, and parses the first document. It returns
// configschema.Problems when that is not valid, and ErrNone when there is none.
// A valid document is given to the source that keeps a copy.
func Load(ctx context.Context, log *slog.Logger, sources ...source.Source) (*Loaded, error) {
	return load(ctx, log, identity.MachineIDFile, sources)
}

func load(ctx context.Context, log *slog.Logger, machineIDFile string, sources []source.Source) (*Loaded, error) {
	document, err := fetch(ctx, sources)
	if err != nil {
		return nil, err
	}
	// The name in messages is the file's: people look for a file to correct.
	parsed, problems := configschema.Parse("user-data", document.UserData)
	if len(problems) > 0 {
		log.Error("the cloud-config is not valid", "source", document.Name, "problems", len(problems))
		return nil, problems
	}
	if err := parsed.Resolve(readSecret); err != nil {
		return nil, fmt.Errorf("read the secrets of the cloud-config: %w", err)
	}
	loaded := &Loaded{Document: document, Config: parsed}
	if err := loaded.name(machineIDFile); err != nil {
		return nil, err
	}
	keep(log, document, sources)
	return loaded, nil
}

func fetch(ctx context.Context, sources []source.Source) (*source.Document, error) {
	for _, s := range sources {
		document, err := s.Fetch(ctx)
		if errors.Is(err, source.ErrAbsent) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("load the cloud-config from %s: %w", s.Name(), err)
		}
		return document, nil
	}
	return nil, ErrNone
}

// keep lets the boot go on without a copy: the machine has its configuration
// now, and only boots without the medium are at stake.
func keep(log *slog.Logger, document *source.Document, sources []source.Source) {
	for _, s := range sources {
		keeper, ok := s.(source.Keeper)
		if !ok || document.Source == s.Name() {
			continue
		}
		if err := keeper.Keep(document); err != nil {
			log.Warn("the cloud-config could not be kept for boots without its medium", "error", err)
		}
	}
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
		"  skerry config validate user-data",
		rule,
	)
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
