// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Host is what an extension has to be made for.
type Host struct {
	ID      string // skerry
	Version string // of Skerry
	Level   string // SYSEXT_LEVEL, which is raised when what tools are built against changes; empty where it isn't known
}

// Release is what an extension says of itself, in its extension-release file (os-release(5)).
type Release struct {
	ID           string
	Version      string // VERSION_ID: of Skerry, which it is for
	Level        string // SYSEXT_LEVEL
	Architecture string // as systemd has it
	Own          string // IMAGE_VERSION: its own version
}

// architectures are systemd's names for Go's.
var architectures = map[string]string{"amd64": "x86-64", "arm64": "arm64"}

// Fits says why an extension isn't for a system. It is systemd's own rule, in words: systemd-sysext goes by it again.
func (r Release) Fits(h Host) error {
	const anything = "_any"
	if r.Architecture != "" && r.Architecture != anything && r.Architecture != architectures[runtime.GOARCH] {
		return fmt.Errorf("it is for the architecture %s, and this machine is %s", r.Architecture, architectures[runtime.GOARCH])
	}
	switch {
	case r.ID == anything:
		return nil
	case r.ID != h.ID:
		return fmt.Errorf("it is for the system %q, and this is %q", r.ID, h.ID)
	case r.Level != "" && h.Level != "":
		if r.Level != h.Level {
			return fmt.Errorf("it is for systems with SYSEXT_LEVEL=%s, and Skerry %s has %s", r.Level, h.Version, h.Level)
		}
		return nil
	case r.Version != "":
		if r.Version != h.Version {
			return fmt.Errorf("it is for Skerry %s, and this is %s", r.Version, h.Version)
		}
		return nil
	case r.Level != "":
		return fmt.Errorf("it is for systems with SYSEXT_LEVEL=%s, and Skerry %s doesn't say which it has", r.Level, h.Version)
	}
	return fmt.Errorf("it says neither SYSEXT_LEVEL nor VERSION_ID: for which Skerry it is isn't known")
}

// host reads what runs.
func (s *Set) host() (Host, error) {
	text, err := os.ReadFile(s.path(releaseFile))
	if err != nil {
		return Host{}, err
	}
	fields := parseRelease(string(text))
	return Host{ID: fields["ID"], Version: fields["VERSION_ID"], Level: fields["SYSEXT_LEVEL"]}, nil
}

func newRelease(text string) Release {
	fields := parseRelease(text)
	return Release{ID: fields["ID"], Version: fields["VERSION_ID"], Level: fields["SYSEXT_LEVEL"],
		Architecture: fields["ARCHITECTURE"], Own: fields["IMAGE_VERSION"]}
}

// parseRelease reads a file in the form of os-release. What it doesn't understand is passed over, as systemd does.
func parseRelease(text string) map[string]string {
	fields := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		fields[key] = value
	}
	return fields
}
