// SPDX-License-Identifier: Apache-2.0

package nodepassword

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// orphanAge is K3s': a machine that has reserved its name has so long to
// register its Node.
const orphanAge = 10 * time.Minute

// Sweep deletes the Secrets of nodes that never came to be, or whose Node was
// deleted before it owned its Secret: else their names would be taken for ever.
// It returns the names that are free again.
func (s *Store) Sweep(ctx context.Context, now time.Time) ([]string, error) {
	secrets, err := s.client.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("type", string(SecretType)).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("list node passwords: %w", err)
	}
	var freed []string
	var errs []error
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		node, ok := strings.CutSuffix(secret.Name, secretSuffix)
		if !ok || secret.Type != SecretType || now.Sub(secret.CreationTimestamp.Time) < orphanAge {
			continue
		}
		// Not from a list: a Node that is made meanwhile must not be missed.
		if _, err := s.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			if err != nil {
				errs = append(errs, fmt.Errorf("look for node %s: %w", node, err))
			}
			continue
		}
		// Only this one: another of the same name may have been made since.
		err := s.client.CoreV1().Secrets(namespace).Delete(ctx, secret.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &secret.UID},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("delete password of node %s: %w", node, err))
			continue
		}
		freed = append(freed, node)
	}
	return freed, errors.Join(errs...)
}
