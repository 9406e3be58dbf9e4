// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"net/url"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// PhoneHome tells a URL that the machine is there, once an instance.
type PhoneHome struct {
	// URL to send a POST request to, as from a form. $INSTANCE_ID in it stands
	// for the id of the instance.
	URL string `yaml:"url" required:"true"`
	// What to send: all, or a list of pub_key_ed25519, pub_key_ecdsa,
	// pub_key_rsa, pub_key_dsa, instance_id, hostname and fqdn. The machine has
	// no RSA and no DSA key: for those, N/A is sent. The default is all.
	Post PostFields `yaml:"post"`
	// How often to try, ten seconds apart at first and a minute later on. The
	// default is 10. What failed is tried again at the next boot.
	Tries *int `yaml:"tries"`
}

func (p *PhoneHome) check(s scope) {
	if s.has("url") && s.sound("url") {
		u, err := url.Parse(p.URL)
		switch {
		case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
			s.problem(s.at("url"), "is not a URL", "such as https://example.org/machines/$INSTANCE_ID/")
		case u.User != nil:
			s.problem(s.at("url"), "a URL must not hold a password", "")
		}
	}
	if p.Tries != nil && (*p.Tries < 1 || *p.Tries > 1000) {
		s.problem(s.at("tries"), "must be between 1 and 1000", "")
	}
}

// MaxTries is how often to try, or the default.
func (p *PhoneHome) MaxTries() int {
	if p.Tries == nil {
		return 10
	}
	return *p.Tries
}

// Fields are what to send, all when nothing is said.
func (p *PhoneHome) Fields() []string {
	if len(p.Post) == 0 {
		return phoneHomeFields
	}
	return p.Post
}

var phoneHomeFields = []string{"pub_key_rsa", "pub_key_ecdsa", "pub_key_ed25519", "instance_id", "hostname", "fqdn"}

// PostFields are names of fields, or the word all.
type PostFields []string

func (f *PostFields) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.Value == "all" {
		return
	}
	var names CommaList
	names.decodeNode(d, n, path)
	known := append([]string{"pub_key_dsa"}, phoneHomeFields...)
	for i, name := range names {
		if !slices.Contains(known, name) {
			s := scope{d, path}
			at := index(path, i)
			if _, ok := d.places[at]; !ok {
				at = path
			}
			s.problem(at, quote(name)+" is not one of all, "+strings.Join(known, ", "), didYouMean(name, known))
		}
	}
	*f = PostFields(names)
}
