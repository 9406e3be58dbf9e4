// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kube-aggregator/pkg/apiserver"
	apiapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apioptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// apiServer is a kube-apiserver of this process. It listens on the loopback;
// the supervisor hands it, in process, whatever it does not answer itself, so
// client certificates, watches and upgraded connections work unchanged.
type apiServer struct {
	chain *apiserver.APIAggregator
	id    string // the name of its Lease
}

// newAPIServer builds the chain of aggregator, kube-apiserver and extension
// apiserver. It needs the datastore to answer. advertisedPort is the port the
// Service "kubernetes" points to: the supervisor's, since that is the one that
// can be reached from other machines.
func newAPIServer(_ context.Context, opts apioptions.CompletedOptions, advertisedPort int) (*apiServer, error) {
	name, err := cache.NewInformerName("kube-apiserver")
	if err != nil {
		return nil, err
	}
	opts.InformerName = name
	config, err := apiapp.NewConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	// Upstream has no flag for the port of the endpoints it publishes: it takes
	// it from the listener's address.
	generic := config.KubeAPIs.ControlPlane.Generic
	serving := generic.SecureServing
	serving.Listener = advertisedListener{Listener: serving.Listener, port: advertisedPort}

	completed, err := config.Complete()
	if err != nil {
		return nil, fmt.Errorf("complete: %w", err)
	}
	chain, err := apiapp.CreateServerChain(completed)
	if err != nil {
		return nil, fmt.Errorf("create server chain: %w", err)
	}
	return &apiServer{chain: chain, id: generic.APIServerID}, nil
}

func (s *apiServer) run(ctx context.Context) error {
	prepared, err := s.chain.PrepareRun()
	if err != nil {
		return err
	}
	return prepared.Run(ctx)
}

func (s *apiServer) handler() http.Handler { return s.generic().Handler }

// loopback returns the configuration of an all-powerful client.
func (s *apiServer) loopback() *rest.Config {
	return rest.CopyConfig(s.generic().LoopbackClientConfig)
}

func (s *apiServer) generic() *genericapiserver.GenericAPIServer { return s.chain.GenericAPIServer }

// Checks of kube-apiserver. It serves before it is ready: the first start makes
// hundreds of RBAC objects, one after the other, and until they are there only
// administrators and nodes are let in, which is enough for kubelets to start.
const (
	readyCheck   = "/readyz"
	servingCheck = "/readyz?exclude=poststarthook/rbac/bootstrap-roles"
)

// waitCheck waits until a check of kube-apiserver is ok. Its error tells what was
// last seen failing.
func waitCheck(ctx context.Context, client kubernetes.Interface, check string) error {
	last := errors.New("never asked")
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, readyTimeout, true, func(ctx context.Context) (bool, error) {
		body, err := client.Discovery().RESTClient().Get().RequestURI(check).DoRaw(ctx)
		if err != nil {
			last = fmt.Errorf("%w: %s", err, body)
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("wait for kube-apiserver: %w (last: %w)", err, last)
	}
	return nil
}

// advertisedListener is a listener that reports another port than its own.
type advertisedListener struct {
	net.Listener
	port int
}

func (l advertisedListener) Addr() net.Addr {
	addr, ok := l.Listener.Addr().(*net.TCPAddr)
	if !ok {
		return l.Listener.Addr()
	}
	return &net.TCPAddr{IP: addr.IP, Port: l.port, Zone: addr.Zone}
}
