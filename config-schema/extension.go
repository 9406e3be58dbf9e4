// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"net/url"
	"path"
	"regexp"
	"strings"
)

// Extension is a signed image of files that are laid over /usr: tools, drivers,
// firmware that the image lacks.
type Extension struct {
	// Its name, which is that in its extension-release file: letters, digits, and
	// . _ - in between.
	Name string `yaml:"name" required:"true"`
	// Where the image is: a URL that begins with https:// or http://. It is
	// fetched once, and kept for boots without the network; another one is
	// another URL or digest. {version} in it stands for the version of Skerry
	// that runs, or is upgraded to.
	URL string `yaml:"url"`
	// A file of this machine instead of a URL. The copy that is kept of it is
	// replaced when size or time of the file change.
	Path string `yaml:"path"`
	// The SHA-256 of the image in hexadecimal. Without it, the signature alone
	// says what is accepted.
	SHA256 string `yaml:"sha256"`
}

// ExtensionVersion is what stands for the version in the URL of an extension.
const ExtensionVersion = "{version}"

// maxExtensionName is systemd's limit for names of images, less the ending.
const maxExtensionName = 64

var (
	extensionName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	digestSHA256  = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

func (e *Extension) check(s scope) {
	if s.has("name") && s.sound("name") && (!extensionName.MatchString(e.Name) || len(e.Name) > maxExtensionName || strings.HasSuffix(e.Name, ".raw")) {
		s.problem(s.at("name"), quote(e.Name)+" is not the name of an extension", "at most 64 letters, digits and . _ -, without .raw, such as strace")
	}
	switch {
	case s.has("url") && s.has("path"):
		s.problem(s.at("path"), "there is a url as well", "remove one of them")
	case !s.has("url") && !s.has("path"):
		s.problem(s.at("url"), "is missing", "say where the image is, with url or path")
	}
	if s.has("url") {
		parsed, err := url.Parse(strings.ReplaceAll(e.URL, ExtensionVersion, "0"))
		if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "" {
			s.problem(s.at("url"), quote(e.URL)+" is not a URL", "such as https://example.org/strace-{version}.raw")
		}
	}
	if s.has("path") && (!path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path) {
		s.problem(s.at("path"), quote(e.Path)+" is not a path from the root on", "such as /var/mnt/usb/strace.raw")
	}
	if s.has("sha256") && !digestSHA256.MatchString(e.SHA256) {
		s.problem(s.at("sha256"), quote(e.SHA256)+" is not a SHA-256", "64 hexadecimal digits, as sha256sum prints them")
	}
	if s.has("sha256") && strings.Contains(e.URL, ExtensionVersion) {
		s.problem(s.at("sha256"), "is of one image, and "+ExtensionVersion+" in the url makes them several", "remove one of them")
	}
}

func (*Extension) unsupported(key string) (message, hint string) {
	switch key {
	case "source", "uri", "image":
		return "unknown key", "use url or path"
	case "digest", "checksum", "hash":
		return "unknown key", "use sha256"
	}
	return "", ""
}

// checkExtensions refuses two of one name: they are merged by their names.
func (k *Skerry) checkExtensions(s scope) {
	seen := map[string]bool{}
	for i, e := range k.Extensions {
		if seen[e.Name] && e.Name != "" {
			s.problem(s.at("extensions", i, "name"), "extension "+quote(e.Name)+" is listed twice", "remove one of them")
		}
		seen[e.Name] = true
	}
}
