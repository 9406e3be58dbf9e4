// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"net/http"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/daemon/supervisor/admin"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// route is one endpoint of the supervisor.
type route struct {
	methods []string
	// groups are those of which a caller must be in one; none means anybody.
	groups []string
	// limited endpoints count against the in-flight limits.
	limited bool
	serve   func(w http.ResponseWriter, r *http.Request, who *caller) error
}

// agents may fetch what a node needs.
var agents = []string{groupAgent, api.NodeGroup, groupBootstrappers}

// routeTable lists the endpoints by path. Paths are compared as they are, so no
// trick with dots and slashes leads to one by another name; what isn't listed is
// kube-apiserver's.
func (s *Server) routeTable() map[string]route {
	get := []string{http.MethodGet, http.MethodHead}
	post := []string{http.MethodPost}
	put := []string{http.MethodPut}
	servers := []string{groupServer}
	bundle := s.config.Bundle
	return map[string]route{
		api.PathPing:               {get, nil, false, text("pong")},
		api.PathCACerts:            {get, nil, false, text(string(bundle.ServerCAPEM()))},
		api.PathConnect:            {get[:1], []string{api.NodeGroup}, false, s.connect},
		api.PathConfig:             {get, append(servers, agents...), true, s.agentConfig},
		api.PathReadyz:             {get, agents, true, s.readyz},
		api.PathAPIServers:         {get, agents, true, s.apiServers},
		api.PathClientCA:           {get, agents, true, text(string(bundle.ClientCAPEM()))},
		api.PathServerCA:           {get, agents, true, text(string(bundle.ServerCAPEM()))},
		api.PathServingKubelet:     {post, agents, true, s.servingKubelet},
		api.PathClientKubelet:      {post, agents, true, s.clientKubelet},
		api.PathClientKubeProxy:    {post, agents, true, s.signer(bundle.SignKubeProxy)},
		api.PathClientControllers:  {post, agents, true, s.signer(bundle.SignController)},
		admin.PathAuthorities:      {put, servers, false, s.replaceAuthorities},
		admin.PathToken:            {put, servers, false, s.replaceToken},
		api.PathServerBootstrap:    {get, servers, true, s.serverBootstrap},
		api.PathMembers:            {get, servers, true, s.members},
		admin.PathSnapshot:         {post, servers, false, s.takeSnapshot},
		admin.PathEncryptionStatus: {get, servers, false, s.encryptionStatus},
		admin.PathEncryption:       {put, servers, false, s.changeEncryption},
	}
}

// Handler serves the port. It must be behind TLS that asks for client
// certificates.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			s.serve(w, r, route{groups: []string{groupMasters}, serve: s.egress})
			return
		}
		if route, ok := s.routes[r.URL.Path]; ok {
			s.serve(w, r, route)
			return
		}
		a := s.apiserver.Load()
		if a == nil {
			writeStatus(w, errStarting)
			return
		}
		// The writer is passed as it is: watches flush it, exec and port-forward
		// take the connection over.
		a.handler.ServeHTTP(w, r)
	})
}

// serve checks method, caller and limits, in this order, and calls the route.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, route route) {
	who, err := s.admit(r, route)
	if err == nil && route.limited {
		var release func()
		if release, err = s.inFlight.enter(r.Method); err == nil {
			defer release()
		}
	}
	if err == nil {
		err = route.serve(w, r, who)
	}
	if err == nil {
		return
	}
	status := asStatus(err)
	s.log.Warn("refused request", "remote", r.RemoteAddr, "method", clip(r.Method), "path", r.URL.Path,
		"node", clip(r.Header.Get(api.HeaderNodeName)), "caller", who.String(), "code", status.code, "error", err)
	if len(route.methods) > 0 && status.code == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", strings.Join(route.methods, ", "))
	}
	writeStatus(w, status)
}

// longestLogged is more than any name of a node.
const longestLogged = 256

// clip shortens what a stranger sent: headers may have a megabyte.
func clip(text string) string {
	if len(text) <= longestLogged {
		return text
	}
	return strings.ToValidUTF8(text[:longestLogged], "") + "…"
}

func (s *Server) admit(r *http.Request, route route) (*caller, error) {
	if len(route.methods) > 0 && !slices.Contains(route.methods, r.Method) {
		return nil, errMethod
	}
	if len(route.groups) == 0 {
		return nil, nil //nolint:nilnil // anybody
	}
	who, err := s.identify(r)
	if err != nil {
		return nil, err
	}
	if who == nil {
		return nil, errUnauthorized
	}
	if !who.inAny(route.groups) {
		return who, errForbidden
	}
	return who, nil
}

func text(s string) func(http.ResponseWriter, *http.Request, *caller) error {
	return func(w http.ResponseWriter, _ *http.Request, _ *caller) error {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(s)) // the client's loss
		return nil
	}
}
