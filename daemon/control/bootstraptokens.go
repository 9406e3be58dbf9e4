// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/kubernetes/plugin/pkg/auth/authenticator/token/bootstrap"
)

// bootstrapTokens knows the cluster's bootstrap tokens by watching them: a guess
// costs no request to kube-apiserver.
type bootstrapTokens struct {
	authenticator.Token
	synced func() bool
}

var errTokensUnknown = errors.New("the cluster's bootstrap tokens have not been read yet")

// newBootstrapTokens watches until ctx ends.
func newBootstrapTokens(ctx context.Context, client kubernetes.Interface) *bootstrapTokens {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithNamespace(metav1.NamespaceSystem),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("type", string(bootstrapapi.SecretTypeBootstrapToken)).String()
		}))
	secrets := factory.Core().V1().Secrets()
	t := &bootstrapTokens{
		Token:  bootstrap.NewTokenAuthenticator(secrets.Lister().Secrets(metav1.NamespaceSystem)),
		synced: secrets.Informer().HasSynced,
	}
	factory.Start(ctx.Done())
	return t
}

// AuthenticateToken implements authenticator.Token. A token that isn't known yet
// may be right: that is an error, and no refusal.
func (t *bootstrapTokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !t.synced() {
		return nil, false, errTokensUnknown
	}
	return t.Token.AuthenticateToken(ctx, token)
}
