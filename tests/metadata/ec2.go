// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// EC2 is the instance metadata service of Amazon EC2.
type EC2 struct {
	Machine
	// V1Only is a service that knows no tokens, V2Only one that demands them,
	// Off one that is turned off for this instance.
	V1Only, V2Only, Off bool
	// Cards are the values of each card below network/interfaces/macs, by its
	// hardware address and the name of the value.
	Cards map[string]map[string]string
}

const ec2Token = "AQAEAExample-token=="

// ServeHTTP implements http.Handler.
func (e *EC2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case e.Off, r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "Forbidden", http.StatusForbidden)
	case r.URL.Path == "/latest/api/token":
		e.token(w, r)
	case !allowed(w, r, http.MethodGet):
	case !e.V1Only && e.V2Only && r.Header.Get("X-aws-ec2-metadata-token") == "",
		!e.V1Only && r.Header.Get("X-aws-ec2-metadata-token") != "" && r.Header.Get("X-aws-ec2-metadata-token") != ec2Token:
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
	default:
		give(w, r, e.value(r.URL.Path))
	}
}

func (e *EC2) token(w http.ResponseWriter, r *http.Request) {
	if e.V1Only {
		http.NotFound(w, r)
		return
	}
	if !allowed(w, r, http.MethodPut) {
		return
	}
	seconds, err := strconv.Atoi(r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds"))
	if err != nil || seconds < 1 || seconds > 21600 {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	give(w, r, ec2Token)
}

func (e *EC2) value(path string) string {
	path, ok := strings.CutPrefix(path, "/latest/")
	if !ok {
		return ""
	}
	switch path {
	case "user-data":
		return e.UserData
	case "meta-data/instance-id":
		return e.InstanceID
	case "meta-data/local-hostname":
		return e.Hostname
	case "meta-data/public-keys/":
		var index []string
		for i := range e.Keys {
			index = append(index, fmt.Sprintf("%d=key-%d", i, i))
		}
		return strings.Join(index, "\n")
	}
	if below, ok := strings.CutPrefix(path, "meta-data/network/interfaces/macs/"); ok {
		return e.card(below)
	}
	for i, key := range e.Keys {
		if path == fmt.Sprintf("meta-data/public-keys/%d/openssh-key", i) {
			return key + "\n"
		}
	}
	return ""
}

// card is a value of a card, or the list of all, which has no order.
func (e *EC2) card(path string) string {
	mac, name, ok := strings.Cut(path, "/")
	if ok {
		return e.Cards[mac][name]
	}
	var index []string
	for mac := range e.Cards {
		index = append(index, mac+"/")
	}
	return strings.Join(index, "\n")
}
