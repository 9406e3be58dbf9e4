// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

var secretsReencryptServers = Scenario{
	Name:   "secrets-reencrypt-servers",
	Suite:  SuiteAll,
	Shows:  "two servers on PostgreSQL replace the key of Secrets, each reading at every moment what the other writes, while the one that leads is killed, and while one is off",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		k, err := t.keep(ctx, database.Postgres)
		if err != nil {
			return err
		}
		defer k.close()
		opened, err := k.db.Open()
		if err != nil {
			return err
		}
		defer opened.Close()
		servers, cluster, err := t.servers(ctx, k, nil, "server-1", "server-2")
		if err != nil {
			return err
		}
		other, err := servers[1].Cluster(ctx)
		if err != nil {
			return err
		}
		t.ExpectOnConsole(killed)
		v := vault{namespace: "vault", size: 600}
		if err := t.Step(fmt.Sprintf("make %d Secrets", v.size), func() error { return v.fill(ctx, cluster) }); err != nil {
			return err
		}
		p := &pingPong{sides: []*vm.Cluster{cluster, other}, namespace: v.namespace}
		p.start(ctx)
		defer p.stop()
		var status encryptionStatus
		isWritten := func() error {
			if status, err = waitSecrets(ctx, servers[0]); err != nil {
				return err
			}
			all, err := storedSecrets(ctx, opened)
			if err != nil {
				return err
			}
			return writtenWith(all, status.ActiveKey, v.size)
		}
		return t.Steps(
			step{"all are encrypted", isWritten},
			step{"replace the key, and kill the server that leads", func() error {
				if _, err := servers[1].Run(ctx, "sudo skerry secrets-encrypt rotate-keys --no-wait"); err != nil {
					return err
				}
				return t.killLeader(ctx, cluster, servers)
			}},
			step{"it finishes, and the datastore has nothing of the old key", isWritten},
			step{"both read all", func() error {
				return errors.Join(v.holds(ctx, cluster), v.holds(ctx, other))
			}},
			step{"each has read what the other wrote, at every moment", func() error {
				p.stop()
				t.Note("%d times", p.count)
				return p.wrong()
			}},
			step{"replace the key while server-2 is off", func() error {
				servers[1].PowerCut()
				began := time.Now()
				if _, err := servers[0].Run(ctx, "sudo skerry secrets-encrypt rotate-keys"); err != nil {
					return err
				}
				t.Note("it took %.1fs", time.Since(began).Seconds())
				return isWritten()
			}},
			step{"it reads all when it is back", func() error {
				if err := servers[1].PowerOn(ctx); err != nil {
					return err
				}
				api, err := servers[1].WaitServer(ctx)
				if err != nil {
					return err
				}
				return v.holds(ctx, api)
			}},
		)
	},
}

// killLeader kills the control plane of the server that writes Secrets anew, while it does.
func (t *T) killLeader(ctx context.Context, cluster *vm.Cluster, servers []*vm.Machine) error {
	var leads *vm.Machine
	if err := vm.Wait(ctx, "Secrets to be written anew", 2*time.Minute, func(ctx context.Context) error {
		s, err := secretsStatus(ctx, servers[0])
		if err != nil {
			return err
		}
		if s.Finished {
			return nil // too late, which is told below
		}
		if s.Stage != "reencrypt_active" || s.Done == 0 {
			return fmt.Errorf("it says %+v", s)
		}
		lease, err := cluster.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, "skerry-secrets-encryption", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, m := range servers {
			if lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == m.Name() {
				leads = m
				t.Note("%s leads, %d of %d are written", m.Name(), s.Done, s.Total)
				return nil
			}
		}
		return fmt.Errorf("nobody leads: %v", lease.Spec.HolderIdentity)
	}); err != nil {
		return err
	}
	if leads == nil {
		return errors.New("it was finished before it could be interrupted")
	}
	if _, err := leads.Run(ctx, killControl); err != nil {
		return err
	}
	_, err := leads.WaitServer(ctx)
	return err
}

// pingPong writes a Secret through each server in turn and reads it through the other. A server that is away answers
// nothing; one that can't read a Secret answers with an internal error.
type pingPong struct {
	sides     []*vm.Cluster
	namespace string

	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	count  int
	errs   []error
}

func (p *pingPong) start(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		for i := 0; ctx.Err() == nil; i++ {
			err := p.once(ctx, p.sides[i%2], p.sides[(i+1)%2], fmt.Sprint(i))
			p.mu.Lock()
			if err == nil {
				p.count++
			} else if apierrors.IsInternalError(err) || errors.Is(err, errOtherValue) {
				p.errs = append(p.errs, err)
			}
			p.mu.Unlock()
		}
	}()
}

func (p *pingPong) stop() {
	p.cancel()
	<-p.done
}

func (p *pingPong) wrong() error {
	if p.count == 0 {
		return errors.New("nothing was written at all")
	}
	return errors.Join(p.errs[:min(len(p.errs), maxFindings)]...)
}

var errOtherValue = errors.New("another value was read than was written")

func (p *pingPong) once(ctx context.Context, from, to *vm.Cluster, value string) error {
	const name = "ping-pong"
	secrets := from.CoreV1().Secrets(p.namespace)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the key is replaced meanwhile
		present, err := secrets.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"value": value}}, metav1.CreateOptions{})
			return err
		}
		if err != nil {
			return err
		}
		present.StringData = map[string]string{"value": value}
		_, err = secrets.Update(ctx, present, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	read, err := to.CoreV1().Secrets(p.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if got := string(read.Data["value"]); got != value {
		return fmt.Errorf("%w: %q, want %q", errOtherValue, got, value)
	}
	return nil
}
