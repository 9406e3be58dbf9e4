// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	dockerreference "github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/skerry-os/skerry/daemon/slot"
)

const (
	// maxTagPages and maxTagPage, in bytes, are far beyond what a repository of payloads needs.
	maxTagPages = 100
	maxTagPage  = 4 << 20
	// authorizations is how often a request is repeated with what the registry asks for.
	authorizations = 3
)

// newest is the image of a repository with the newest version. Those that come before a release, such as 1.2.0~rc1, are left
// to those who name them.
func (r *registry) newest(ctx context.Context, hosts docker.RegistryHosts) (reference.Named, error) {
	tags, err := listTags(ctx, hosts, r.image)
	if err != nil {
		return nil, err
	}
	newest := ""
	for _, tag := range tags {
		version := versionOf(tag)
		if !slot.IsVersion(version) || version[0] < '0' || version[0] > '9' {
			continue // "latest", "stable"
		}
		r.versions = append(r.versions, version)
		if !strings.Contains(version, "~") && (newest == "" || slot.Compare(version, versionOf(newest)) > 0) {
			newest = tag
		}
	}
	slices.SortFunc(r.versions, func(a, b string) int { return slot.Compare(b, a) })
	if newest == "" {
		return nil, fmt.Errorf("none of its %d tags is a version: name one, as in %s:TAG", len(tags), r)
	}
	return reference.WithTag(r.image, newest)
}

// versionOf is the version that a tag stands for: tags have no "~".
func versionOf(tag string) string { return strings.ReplaceAll(tag, "_", "~") }

// listTags are the tags of a repository, of the first host that tells any.
func listTags(ctx context.Context, hosts docker.RegistryHosts, image reference.Named) ([]string, error) {
	spec, err := dockerreference.Parse(image.String())
	if err != nil {
		return nil, err
	}
	if ctx, err = docker.ContextWithRepositoryScope(ctx, spec, false); err != nil {
		return nil, err
	}
	all, err := hosts(reference.Domain(image))
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, host := range all {
		if !host.Capabilities.Has(docker.HostCapabilityResolve) {
			continue
		}
		tags, err := tagsOf(ctx, host, reference.Path(image), reference.Domain(image))
		if err == nil {
			return tags, nil
		}
		failures = append(failures, fmt.Errorf("list the tags at %s: %w", host.Host, err))
	}
	return nil, errors.Join(failures...)
}

// nextPage is what a registry says of there being more: its last tag is where the next page begins.
var nextPage = regexp.MustCompile(`<([^>]*)>\s*;\s*rel="?next"?`)

func tagsOf(ctx context.Context, host docker.RegistryHost, repository, namespace string) (tags []string, err error) {
	list := url.URL{Scheme: host.Scheme, Host: host.Host, Path: strings.TrimSuffix(host.Path, "/") + "/" + repository + "/tags/list"}
	query := url.Values{}
	if host.Host != namespace {
		query.Set("ns", namespace) // whose mirror it is, as containerd says it
	}
	for range maxTagPages {
		list.RawQuery = query.Encode()
		page, next, err := tagPage(ctx, host, list.String())
		if err != nil {
			return nil, err
		}
		tags = append(tags, page...)
		if next == "" {
			return tags, nil
		}
		// Of the address of the next page only what it asks for is taken: the host gets the credentials.
		parsed, err := url.Parse(next)
		if err != nil {
			return nil, fmt.Errorf("the address of the next page: %w", err)
		}
		for _, key := range []string{"n", "last"} {
			if value := parsed.Query().Get(key); value != "" {
				query.Set(key, value)
			}
		}
	}
	return nil, fmt.Errorf("there are more than %d pages of tags", maxTagPages)
}

// tagPage returns tags, and where there are more.
func tagPage(ctx context.Context, host docker.RegistryHost, address string) (tags []string, next string, err error) {
	resp, err := authorized(ctx, host, address)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil, "", fmt.Errorf("there is no such repository: %w", errdefs.ErrNotFound)
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return nil, "", fmt.Errorf("%s: %w", resp.Status, docker.ErrInvalidAuthorization)
	case resp.StatusCode != http.StatusOK:
		return nil, "", errors.New(resp.Status)
	}
	var page struct {
		Tags []string `json:"tags"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTagPage)).Decode(&page); err != nil {
		return nil, "", fmt.Errorf("read the tags: %w", err)
	}
	for _, link := range resp.Header.Values("Link") {
		if found := nextPage.FindStringSubmatch(link); found != nil {
			next = found[1]
		}
	}
	return page.Tags, next, nil
}

// authorized gets an address, with the credentials that the registry asks for.
func authorized(ctx context.Context, host docker.RegistryHost, address string) (*http.Response, error) {
	var refusals []*http.Response
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		if host.Header != nil {
			req.Header = host.Header.Clone()
		}
		if err := host.Authorizer.Authorize(ctx, req); err != nil {
			return nil, err
		}
		resp, err := host.Client.Do(req)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || len(refusals) == authorizations {
			return resp, err
		}
		resp.Body.Close()
		refusals = append(refusals, resp)
		if err := host.Authorizer.AddResponses(ctx, refusals); err != nil {
			return nil, err
		}
	}
}
