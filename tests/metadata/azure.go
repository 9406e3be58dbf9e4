// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Azure is the instance metadata service of Microsoft Azure, and the wire
// server, which has another address there.
type Azure struct {
	Machine
	// OldOnly is a service that knows no version of the interface after 2019.
	OldOnly bool

	mu      sync.Mutex
	reports []string
}

const (
	azureContainer = "c6d5526c-5ac2-4200-b6e2-56f2b70c5ab2"
	azureRole      = "b61f93d0-e1ed-40b2-b067-22c243233448.MachineRole_IN_0"
)

// ServeHTTP implements http.Handler.
func (z *Azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/metadata/instance":
		z.instance(w, r)
	case "/machine/", "/machine":
		z.wire(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (z *Azure) instance(w http.ResponseWriter, r *http.Request) {
	version := r.URL.Query().Get("api-version")
	recent := version >= "2021-01-01" && !z.OldOnly
	switch {
	case !allowed(w, r, http.MethodGet):
	case r.Header.Get("Metadata") != "true", r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, `{"error":"Bad request. Required metadata header not specified"}`, http.StatusBadRequest)
	case version == "", !recent && version > "2020":
		http.Error(w, `{"error":"Bad request. api-version is invalid"}`, http.StatusBadRequest)
	default:
		keys := []map[string]string{}
		for _, key := range z.Keys {
			keys = append(keys, map[string]string{"keyData": key + "\r\n", "path": "/home/azureuser/.ssh/authorized_keys"})
		}
		compute := map[string]any{
			"name": z.Hostname, "vmId": z.InstanceID, "customData": "", "publicKeys": keys, "location": "westeurope",
		}
		if recent {
			compute["userData"] = base64.StdEncoding.EncodeToString([]byte(z.UserData))
			compute["osProfile"] = map[string]any{"computerName": z.Hostname, "adminUsername": "azureuser"}
		}
		giveJSON(w, map[string]any{"compute": compute, "network": z.part("{}")})
	}
}

func (z *Azure) wire(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("x-ms-version") != "2012-11-30" || r.Header.Get("x-ms-agent-name") == "" {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	switch r.URL.Query().Get("comp") {
	case "goalstate":
		if allowed(w, r, http.MethodGet) {
			give(w, r, `<?xml version="1.0" encoding="utf-8"?>
<GoalState xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Version>2012-11-30</Version><Incarnation>3</Incarnation>
<Container><ContainerId>`+azureContainer+`</ContainerId><RoleInstanceList><RoleInstance><InstanceId>`+azureRole+`</InstanceId>
<State>Started</State></RoleInstance></RoleInstanceList></Container></GoalState>`)
		}
	case "health":
		if allowed(w, r, http.MethodPost) {
			z.health(w, r)
		}
	default:
		http.NotFound(w, r)
	}
}

func (z *Azure) health(w http.ResponseWriter, r *http.Request) {
	var report struct {
		XMLName     xml.Name `xml:"Health"`
		Incarnation string   `xml:"GoalStateIncarnation"`
		Container   string   `xml:"Container>ContainerId"`
		Instance    string   `xml:"Container>RoleInstanceList>Role>InstanceId"`
		State       string   `xml:"Container>RoleInstanceList>Role>Health>State"`
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		err = xml.Unmarshal(body, &report)
	}
	if err != nil || r.Header.Get("Content-Type") != "text/xml; charset=utf-8" ||
		report.Incarnation != "3" || report.Container != azureContainer || report.Instance != azureRole {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.reports = append(z.reports, report.State)
}

// Reports returns the states that were reported, in order.
func (z *Azure) Reports() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return append([]string(nil), z.reports...)
}

// OVF is the file ovf-env.xml of the CD that Azure attaches to a new machine. Its lines of base64 are folded, as Azure's
// are.
func (z *Azure) OVF() []byte {
	var keys, folded strings.Builder
	for _, key := range z.Keys {
		fmt.Fprintf(&keys, "<ns1:PublicKey><ns1:Path>/home/azureuser/.ssh/authorized_keys</ns1:Path><ns1:Value>%s</ns1:Value></ns1:PublicKey>\n", key)
	}
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString([]byte(z.UserData))), 76) {
		fmt.Fprintf(&folded, "%s\n", line)
	}
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="utf-8"?>
<ns0:Environment xmlns:ns0="http://schemas.dmtf.org/ovf/environment/1" xmlns:ns1="http://schemas.microsoft.com/windowsazure">
<ns1:ProvisioningSection><ns1:Version>1.0</ns1:Version><ns1:LinuxProvisioningConfigurationSet>
<ns1:ConfigurationSetType>LinuxProvisioningConfiguration</ns1:ConfigurationSetType>
<ns1:UserName>azureuser</ns1:UserName><ns1:HostName>%s</ns1:HostName>
<ns1:SSH><ns1:PublicKeys>
%s</ns1:PublicKeys></ns1:SSH>
<ns1:CustomData>%s</ns1:CustomData>
</ns1:LinuxProvisioningConfigurationSet></ns1:ProvisioningSection>
</ns0:Environment>
`, z.Hostname, keys.String(), folded.String())
}
