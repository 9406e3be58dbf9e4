// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// ConfigURL fetches a cloud-config from the URL on the kernel command line. The
// digest beside it ties the content to who wrote the command line; https ties
// it to a server; without either, whoever is on the network may configure this
// machine.
type ConfigURL struct {
	URL *url.URL
	// SHA256 is what the content must have, in hexadecimal digits, or empty.
	SHA256  string
	Given   Given
	Fetcher *Fetcher
}

// Name returns "config_url".
func (*ConfigURL) Name() string { return "config_url" }

// Fetch fetches the file. That there is none at the URL is ErrMissing: somebody
// has named it for this machine.
func (c *ConfigURL) Fetch(ctx context.Context) (*Document, error) {
	if c.SHA256 == "" {
		warnPlain(c.Fetcher.Log, c.URL)
	}
	data, err := c.Fetcher.Get(ctx, c.URL, maxUserData)
	if err != nil {
		return nil, err
	}
	name := redact(c.URL.String())
	// The digest is of the file as it is served, before anything unpacks it.
	if sum := sha256.Sum256(data); c.SHA256 != "" && hex.EncodeToString(sum[:]) != c.SHA256 {
		return nil, fmt.Errorf("%s has the SHA-256 digest %x, but config_url demands %s: correct the file or the command line", name, sum, c.SHA256)
	}
	document, err := newDocument("config_url", name, map[string][]byte{userDataFile: data})
	if err != nil {
		return nil, err
	}
	return document, c.Given.apply(document)
}

// Seed fetches the files of a NoCloud volume from a folder of a web server.
type Seed struct {
	URL     *url.URL
	Given   Given
	Fetcher *Fetcher
}

// Name returns "nocloud".
func (*Seed) Name() string { return "nocloud" }

// Fetch fetches the files. Only user-data has to be there; without it, the error
// is ErrMissing.
func (s *Seed) Fetch(ctx context.Context) (*Document, error) {
	warnPlain(s.Fetcher.Log, s.URL)
	name := redact(s.URL.String())
	folder := *s.URL
	if !strings.HasSuffix(folder.Path, "/") {
		folder.Path += "/"
	}
	talk := s.Fetcher.converse(s.Name(), fixed(hostOf(s.URL)))
	files := map[string][]byte{}
	// In this order: what must be there first.
	for _, file := range []string{userDataFile, metaDataFile, networkConfigFile, vendorDataFile} {
		path, limit := pathOf(folder.JoinPath(file)), fileLimits[file]
		var err error
		if file == userDataFile {
			files[file], err = talk.named(ctx, path, limit)
		} else {
			files[file], err = talk.get(ctx, path, limit, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	document, err := newDocument("nocloud", name, files)
	if err != nil {
		return nil, err
	}
	return document, s.Given.apply(document)
}

func hostOf(u *url.URL) string {
	base := url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host}
	return base.String()
}

func pathOf(u *url.URL) string {
	if u.RawQuery != "" {
		return u.EscapedPath() + "?" + u.RawQuery
	}
	return u.EscapedPath()
}

func warnPlain(log *slog.Logger, u *url.URL) {
	if u.Scheme == "http" {
		log.Warn("the cloud-config comes over http without a digest: anybody between can read and change it; use https, or config_url with #sha256=",
			"host", u.Host)
	}
}
