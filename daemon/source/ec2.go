// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// EC2 asks the instance metadata service of Amazon EC2: version 2 with its
// token, or version 1 where there is no other, as with clouds that speak the
// same.
type EC2 struct {
	// Bases are the addresses of the service, with scheme.
	Bases   []string
	Fetcher *Fetcher
}

var ec2Bases = []string{"http://169.254.169.254", "http://[fd00:ec2::254]"}

const (
	ec2Token    = "/latest/api/token"
	ec2MetaData = "/latest/meta-data/"
	ec2UserData = "/latest/user-data"

	ec2TokenHeader    = "X-aws-ec2-metadata-token"
	ec2LifetimeHeader = "X-aws-ec2-metadata-token-ttl-seconds"
	// ec2Lifetime is in seconds: the longest allowed.
	ec2Lifetime = "21600"
	maxToken    = 64 << 10
)

// Name returns "ec2".
func (*EC2) Name() string { return "ec2" }

// Fetch asks for the document.
func (e *EC2) Fetch(ctx context.Context) (*Document, error) {
	talk := e.Fetcher.converse(e.Name(), fixed(e.Bases...))
	header, err := e.token(ctx, talk)
	if err != nil {
		return nil, err
	}
	a := &answer{}
	id, err := talk.must(ctx, ec2MetaData+"instance-id", maxMetaData, header)
	if err != nil {
		return nil, e.explain(err, header)
	}
	a.instanceID = strings.TrimSpace(string(id))
	host, err := talk.get(ctx, ec2MetaData+"local-hostname", maxMetaData, header)
	if err != nil {
		return nil, err
	}
	a.hostname = string(host)
	if a.keys, err = ec2Keys(ctx, talk, ec2MetaData+"public-keys/", header); err != nil {
		return nil, err
	}
	if a.userData, err = talk.get(ctx, ec2UserData, maxUserData, header); err != nil {
		return nil, err
	}
	return a.document(e.Name(), talk.name())
}

// token returns the headers of the requests that follow: those of version 2, or
// none where the service doesn't know tokens.
func (e *EC2) token(ctx context.Context, talk *conversation) (map[string]string, error) {
	q := query{method: http.MethodPut, path: ec2Token, limit: maxToken, header: map[string]string{ec2LifetimeHeader: ec2Lifetime}}
	answer, err := talk.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	switch answer.code {
	case http.StatusOK:
		return map[string]string{ec2TokenHeader: strings.TrimSpace(string(answer.body))}, nil
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		talk.Log.Debug("the metadata service has no tokens; using its version 1")
		return nil, nil
	case http.StatusForbidden:
		return nil, fmt.Errorf("%w: the instance metadata service is turned off for this instance: turn it on (HttpEndpoint=enabled)", talk.refused(q, answer))
	}
	return nil, talk.refused(q, answer)
}

func (*EC2) explain(err error, header map[string]string) error {
	var r *refusal
	if header == nil && errors.As(err, &r) && r.code == http.StatusUnauthorized {
		return fmt.Errorf("%w: it demands a token, but gives none", err)
	}
	return err
}

// ec2Keys reads the SSH keys: an index of lines NUMBER=NAME, and a file for
// each number.
func ec2Keys(ctx context.Context, talk *conversation, path string, header map[string]string) ([]string, error) {
	index, err := talk.get(ctx, path, maxMetaData, header)
	if err != nil {
		return nil, err
	}
	var keys []string
	for line := range strings.Lines(string(index)) {
		number, _, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || number == "" || strings.Trim(number, "0123456789") != "" {
			continue
		}
		key, err := talk.get(ctx, path+number+"/openssh-key", maxMetaData, header)
		if err != nil {
			return nil, err
		}
		keys = append(keys, string(key))
	}
	return keys, nil
}
