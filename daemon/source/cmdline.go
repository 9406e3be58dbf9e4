// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

// CommandLine is what the kernel command line says about where this machine's
// configuration is. Two keys are looked at, the last one of a kind counts:
//
//	config_url=https://example.org/a.yaml#sha256=HEX   one file
//	cloud-config-url=…                                 the same, by cloud-init's name
//	ds=nocloud;s=https://example.org/seed/;i=id;h=name the files of a NoCloud volume
//	ds=ec2                                             a source by its name
//
// Any other key of the configuration is no business of the command line: it is
// readable for every process, and part of the signed kernel image.
type CommandLine struct {
	// ConfigURL is the URL of a cloud-config, or nil. SHA256 is what its content
	// must have, or empty.
	ConfigURL *url.URL
	SHA256    string
	// Source is a source by its name, in lower case, or empty.
	Source string
	// Seed is the URL of the folder with the files of a NoCloud volume, or nil.
	Seed *url.URL
	// Given is what ds=nocloud says about this machine.
	Given Given
}

// Given is what a person has said about this machine beside its meta-data. It
// wins over that, as in cloud-init.
type Given struct {
	InstanceID, LocalHostname string
}

// apply completes a document.
func (g Given) apply(d *Document) error {
	if g == (Given{}) {
		return nil
	}
	d.InstanceID = cmp.Or(g.InstanceID, d.InstanceID)
	d.LocalHostname = cmp.Or(g.LocalHostname, d.LocalHostname)
	rendered, err := yaml.Marshal(&metaData{
		InstanceID: scalar(d.InstanceID), LocalHostname: d.LocalHostname, PublicKeys: d.PublicKeys,
	})
	if err != nil {
		return err
	}
	d.MetaData = rendered
	return nil
}

// maxCommandLine is more than any architecture allows.
const maxCommandLine = 64 << 10

// readCommandLine reads the command line, and completes it by the serial number
// that the firmware knows: cloud-init looks for ds=nocloud there, too, which is
// how a virtual machine is pointed at its seed without another command line.
func readCommandLine(path, serial string) (CommandLine, error) {
	file, err := os.Open(path)
	if err != nil {
		return CommandLine{}, fmt.Errorf("read the kernel command line: %w", err)
	}
	defer file.Close()
	data, err := readLimited(file, maxCommandLine)
	if err != nil {
		return CommandLine{}, fmt.Errorf("read the kernel command line: %w", err)
	}
	line, err := parseCommandLine(string(data))
	if err != nil {
		return CommandLine{}, fmt.Errorf("kernel command line: %w", err)
	}
	if line.Source != "" || line.ConfigURL != nil || !strings.HasPrefix(serial, "ds=nocloud") {
		return line, nil
	}
	line, err = parseCommandLine(serial)
	if err != nil {
		return CommandLine{}, fmt.Errorf("serial number of the machine: %w", err)
	}
	return line, nil
}

func parseCommandLine(text string) (CommandLine, error) {
	var line CommandLine
	for _, word := range commandLineWords(text) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "config_url", "cloud-config-url":
			err = line.configURL(value)
		case "ds":
			err = line.dataSource(value)
		default:
			continue
		}
		if err != nil {
			return CommandLine{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	if line.ConfigURL != nil && line.Seed != nil {
		return CommandLine{}, errors.New("config_url and ds=nocloud;s= both name a cloud-config: remove one")
	}
	return line, nil
}

// commandLineWords splits the command line as the kernel does: at blanks that
// are not within double quotes. What follows -- is for the init.
func commandLineWords(text string) []string {
	var words []string
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range text {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == 0):
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	for i, word := range words {
		if word == "--" {
			return words[:i]
		}
	}
	return words
}

func (c *CommandLine) configURL(value string) error {
	u, err := remoteURL(value)
	if err != nil {
		return err
	}
	c.ConfigURL, c.SHA256 = u, ""
	if u.Fragment == "" {
		return nil
	}
	sum, ok := strings.CutPrefix(u.Fragment, "sha256=")
	if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != 32 {
		return errors.New("what follows # must be sha256= and 64 hexadecimal digits")
	}
	c.SHA256 = strings.ToLower(sum)
	u.Fragment = ""
	return nil
}

// dataSource reads the value of ds=: a name, and for nocloud what follows it.
// Whether the name is one, the table of sources says.
func (c *CommandLine) dataSource(value string) error {
	name, rest, _ := strings.Cut(value, ";")
	c.Source, c.Seed, c.Given = strings.ToLower(name), nil, Given{}
	if c.Source == "nocloud-net" { // the name it had when s= was another source
		c.Source = "nocloud"
	}
	if c.Source == "" {
		return errors.New("names no source")
	}
	for part := range strings.SplitSeq(rest, ";") {
		if part == "" {
			continue
		}
		if c.Source != "nocloud" {
			return fmt.Errorf("%q: only nocloud takes more than its name", part)
		}
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "s", "seedfrom":
			u, err := remoteURL(value)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			if u.Fragment != "" {
				return fmt.Errorf("%s: a folder has no digest: use config_url", key)
			}
			c.Seed = u
		case "i", "instance-id":
			c.Given.InstanceID = value
		case "h", "local-hostname":
			c.Given.LocalHostname = value
		default:
			return fmt.Errorf("%q: nocloud takes s=URL, i=INSTANCE-ID and h=HOSTNAME", part)
		}
	}
	return nil
}

// remoteURL parses a URL of the network. file: is refused: before its first
// configuration a machine has no file that is not on a medium, and a medium is
// found by its label.
func remoteURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error of the parser repeats the URL, and with it a password.
		return nil, errors.New("is not a URL")
	}
	switch {
	case u.Scheme == "file":
		return nil, fmt.Errorf("a file is not read: put it as user-data on a volume labelled %s", noCloudLabel)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must begin with https:// or http://")
	case u.Hostname() == "":
		return nil, errors.New("names no host")
	}
	return u, nil
}
