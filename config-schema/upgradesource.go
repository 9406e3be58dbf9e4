// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// UpgradeVolume is the label of the file system that "disk:" stands for. vfat has
// no longer labels.
const UpgradeVolume = "SKERRY-NEXT"

// UpgradeSource is where the payload of an upgrade is, as people write it, taken
// apart. One of Web, Image and Volume is set; where none is, Path alone tells.
type UpgradeSource struct {
	// Web is the folder's URL, of https or http.
	Web *url.URL
	// Image is one of an OCI registry: a repository, and maybe a tag or a digest.
	Image reference.Named
	// Volume is the label of a file system.
	Volume string
	// Path is that of a folder, or of a tar archive of it: on the volume, relative
	// to its top and "." for that; else on the machine.
	Path string
}

const (
	imageScheme  = "oci://"
	volumePrefix = "disk:"
	fileScheme   = "file://"
)

// volumeLabel is what udev names in /dev/disk/by-label as it is.
var volumeLabel = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

// ParseUpgradeSource takes apart the URL of a folder, oci:// and the name of an
// image, disk: and a label with a path, or a path. The error never tells a
// password that is in it.
func ParseUpgradeSource(text string) (UpgradeSource, error) {
	if rest, ok := strings.CutPrefix(text, imageScheme); ok {
		return parseImageSource(rest)
	}
	if rest, ok := strings.CutPrefix(text, volumePrefix); ok {
		return parseVolumeSource(rest)
	}
	if rest, ok := strings.CutPrefix(text, fileScheme); ok {
		parsed, err := url.Parse(text)
		if err != nil || parsed.Host != "" || !path.IsAbs(parsed.Path) || parsed.RawQuery != "" || parsed.Fragment != "" {
			return UpgradeSource{}, fmt.Errorf("%s is not the URL of a file: file:// and an absolute path", quote(fileScheme+rest))
		}
		return UpgradeSource{Path: parsed.Path}, nil
	}
	if !strings.Contains(text, "://") {
		if text == "" {
			return UpgradeSource{}, errors.New("it is empty")
		}
		return UpgradeSource{Path: text}, nil
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil || parsed.Opaque != "":
		return UpgradeSource{}, errors.New("it is not a URL") // which may hold a password
	case parsed.Scheme != "https" && parsed.Scheme != "http":
		return UpgradeSource{}, fmt.Errorf("%s is none of the URLs that are known", quote(parsed.Redacted()))
	case parsed.Host == "":
		return UpgradeSource{}, fmt.Errorf("%s names no host", quote(parsed.Redacted()))
	}
	return UpgradeSource{Web: parsed}, nil
}

func parseImageSource(text string) (UpgradeSource, error) {
	host, _, _ := strings.Cut(text, "/")
	if strings.Contains(host, "@") {
		return UpgradeSource{}, errors.New("it must not hold a password: skerry.registries has those of registries")
	}
	named, err := reference.ParseNamed(text)
	if errors.Is(err, reference.ErrNameNotCanonical) {
		return UpgradeSource{}, fmt.Errorf("%s doesn't begin with a registry: a host with a dot or a port, such as registry.example.org", quote(imageScheme+text))
	}
	if err != nil {
		return UpgradeSource{}, fmt.Errorf("%s is not the name of an image: %w", quote(imageScheme+text), err)
	}
	return UpgradeSource{Image: named}, nil
}

func parseVolumeSource(text string) (UpgradeSource, error) {
	label, at, _ := strings.Cut(text, "/")
	s := UpgradeSource{Volume: label, Path: path.Clean(at)}
	if label == "" {
		s.Volume = UpgradeVolume
	}
	switch {
	case !volumeLabel.MatchString(s.Volume):
		return UpgradeSource{}, fmt.Errorf("%s is not the label of a file system: letters, digits, and . _ -", quote(label))
	case !fs.ValidPath(s.Path):
		return UpgradeSource{}, fmt.Errorf("%s is not a path on the volume", quote(at))
	}
	return s, nil
}
