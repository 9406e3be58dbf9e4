// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"encoding/base64"
	"path"
	"strings"
	"time"
)

// Upgrade is where this machine's next versions come from, and how they have to
// prove themselves.
type Upgrade struct {
	// The payload that skerry upgrade takes where it is given none. Its folder: a
	// URL that begins with https:// or http://. An image of an OCI registry:
	// oci://registry.example.org/skerry, which stands for its newest version, or
	// with :TAG or @DIGEST; the registry's mirrors, credentials and certificates
	// are those of skerry.registries. A disk or USB stick: disk: for the file
	// system that is labelled SKERRY-NEXT, or disk:LABEL/PATH. Or the path of the
	// folder on this machine, or of a tar archive of it.
	Source string `yaml:"source"`
	// Public keys of those who may sign payloads, beside the keys that the image
	// brings: a line each, as minisign writes it, such as
	// RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3.
	Keys []UpgradeKey `yaml:"keys"`
	// How a new version has to prove itself.
	Trial UpgradeTrial `yaml:"trial"`
}

// UpgradeTrial is how a version has to prove itself at its first boot. One that
// doesn't is left, and the machine boots the version before.
type UpgradeTrial struct {
	// How long after its start the machine may be on trial: a number of seconds,
	// or with its unit. The default is 15m.
	Deadline Seconds `yaml:"deadline"`
	// For how long its node has to be Ready without a break: a number of seconds,
	// or with its unit. The default is 1m.
	Stable Seconds `yaml:"stable"`
}

// UpgradeKey is a public key of minisign's.
type UpgradeKey string

// The form of minisign's public keys: "Ed", 8 bytes of an identifier, 32 of the
// key.
const (
	upgradeKeySize      = 42
	upgradeKeyAlgorithm = "Ed"
)

func (k *UpgradeKey) check(s scope) {
	raw, err := base64.StdEncoding.DecodeString(string(*k))
	if err != nil || len(raw) != upgradeKeySize || !strings.HasPrefix(string(raw), upgradeKeyAlgorithm) {
		s.problem(s.path, quote(string(*k))+" is not a public key of minisign's", "it is the second line of the .pub file, and begins with RW")
	}
}

func (u *Upgrade) check(s scope) {
	if !s.has("source") {
		return
	}
	const hint = "such as https://example.org/skerry/stable, oci://registry.example.org/skerry, disk:, or /var/lib/payload"
	parsed, err := ParseUpgradeSource(u.Source)
	switch {
	case err != nil:
		s.problem(s.at("source"), err.Error(), hint)
	case parsed.Web == nil && parsed.Image == nil && parsed.Volume == "" && !path.IsAbs(parsed.Path):
		s.problem(s.at("source"), quote(u.Source)+" is neither a URL nor an absolute path", hint)
	}
}

// shortestTrial is one that a machine can't pass: its kernel alone takes as long.
const shortestTrial = 30 * time.Second

func (t *UpgradeTrial) check(s scope) {
	deadline := time.Duration(t.Deadline)
	if s.has("deadline") && deadline < shortestTrial {
		s.problem(s.at("deadline"), "no machine boots in "+t.Deadline.String(), "such as 15m")
	}
	if stable := time.Duration(t.Stable); deadline > 0 && stable >= deadline {
		s.problem(s.at("stable"), "the trial is over after "+t.Deadline.String()+", before the node was Ready for "+t.Stable.String(), "choose a longer deadline")
	}
}
