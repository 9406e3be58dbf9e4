// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// killed is on the console of a machine whose control plane was killed.
var killed = vm.Allowance{
	Re:     regexp.MustCompile(`skerry-control\.service.*(Failed with result|Main process exited)`),
	Reason: "the control plane is killed in this scenario",
}

const killControl = "sudo systemctl kill --signal=KILL skerry-control.service"

var secretsReencryptInterrupted = Scenario{
	Name:   "secrets-reencrypt-interrupted",
	Suite:  SuiteAll,
	Shows:  "Secrets are encrypted from the beginning; a replacement of their key goes on by itself after each of several kill -9, all stay readable, and the datastore has nothing of the old key",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		t.ExpectOnConsole(killed)
		v := vault{namespace: "vault", size: 1500}
		if err := t.Step(fmt.Sprintf("make %d Secrets", v.size), func() error { return v.fill(ctx, cluster) }); err != nil {
			return err
		}
		before, err := secretsStatus(ctx, server)
		if err != nil {
			return err
		}
		if !before.Enable || !before.Finished || before.ActiveKey == "" {
			return fmt.Errorf("a new server's status is %+v", before)
		}
		if _, err := server.Run(ctx, "sudo skerry secrets-encrypt rotate-keys --no-wait"); err != nil {
			return err
		}
		if err := t.interruptRewriting(ctx, server, v); err != nil {
			return err
		}
		var after encryptionStatus
		return t.Steps(
			step{"it finishes by itself", func() error {
				if after, err = waitSecrets(ctx, server); err != nil {
					return err
				}
				if after.ActiveKey == before.ActiveKey || after.Stage != "reencrypt_finished" {
					return fmt.Errorf("the status is %+v", after)
				}
				return v.holds(ctx, cluster)
			}},
			step{"the datastore has nothing of the old key", func() error {
				all, err := storedInSQLite(ctx, t, server)
				if err != nil {
					return err
				}
				if err := writtenWith(all, after.ActiveKey, v.size); err != nil {
					return err
				}
				out, err := server.Run(ctx, "sudo cat /var/lib/rancher/k3s/server/cred/encryption-config.json")
				if err == nil && strings.Contains(out, before.ActiveKey) {
					err = errors.New("the old key is still in the configuration")
				}
				return err
			}},
			step{"disable writes all as they are, and shows its progress", func() error {
				return t.changeSecrets(ctx, server, v, "disable", func(encryptionStatus) string { return "" })
			}},
			step{"enable encrypts all, and leaves nothing plain", func() error {
				return t.changeSecrets(ctx, server, v, "enable", func(s encryptionStatus) string { return s.ActiveKey })
			}},
			step{"all are read", func() error { return v.holds(ctx, cluster) }},
			step{"secrets-encryption: false is refused, and taken back", func() error { return t.refusesPlain(ctx, server) }},
		)
	},
}

// interruptRewriting kills the control plane early, and while Secrets are written anew, at moments of the seed.
func (t *T) interruptRewriting(ctx context.Context, server *vm.Machine, v vault) error {
	t.Note("seed %d: run with --seed %d to kill at the same moments", t.Seed, t.Seed)
	moments := t.Rand()
	at := []float64{0, 0.05 + 0.25*moments.Float64(), 0.4 + 0.25*moments.Float64(), 0.7 + 0.2*moments.Float64()}
	early := time.Duration(moments.Int64N(int64(time.Second)))
	for i, part := range at {
		if err := t.Step(fmt.Sprintf("kill the control plane, %d of %d: after %.0f %% of the Secrets", i+1, len(at), part*100), func() error {
			var seen encryptionStatus
			if part == 0 {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(early):
				}
			} else if err := vm.Wait(ctx, "Secrets to be written anew", vm.ReadyTimeout, func(ctx context.Context) error {
				var err error
				seen, err = secretsStatus(ctx, server)
				if err == nil && !seen.Finished && (seen.Stage != "reencrypt_active" || float64(seen.Done) < part*float64(seen.Total) || seen.Total == 0) {
					err = fmt.Errorf("it says %+v", seen)
				}
				return err
			}); err != nil {
				return err
			}
			if seen.Finished {
				return errors.New("it was finished before it could be interrupted")
			}
			if _, err := server.Run(ctx, killControl); err != nil {
				return err
			}
			t.Note("killed in stage %q, %d of %d", seen.Stage, seen.Done, seen.Total)
			api, err := server.WaitServer(ctx)
			if err != nil {
				return err
			}
			return v.holds(ctx, api)
		}); err != nil {
			return err
		}
	}
	return nil
}

// changeSecrets runs a command to its end and looks into the datastore.
func (t *T) changeSecrets(ctx context.Context, server *vm.Machine, v vault, command string, key func(encryptionStatus) string) error {
	began := time.Now()
	out, err := server.Run(ctx, "sudo skerry secrets-encrypt "+command)
	if err != nil {
		return err
	}
	if !strings.Contains(out, "reencrypt_active") || !strings.Contains(out, "finished\n") {
		return fmt.Errorf("it says %q", out)
	}
	t.Note("it took %.1fs", time.Since(began).Seconds())
	status, err := waitSecrets(ctx, server)
	if err != nil {
		return err
	}
	all, err := storedInSQLite(ctx, t, server)
	if err != nil {
		return err
	}
	return writtenWith(all, key(status), v.size)
}

// refusesPlain gives a server of an encrypted cluster a cloud-config that says it isn't.
func (t *T) refusesPlain(ctx context.Context, server *vm.Machine) error {
	encrypted, err := t.serverConfig()
	if err != nil {
		return err
	}
	plain, err := t.exampleConfig("server.yaml", vm.Overrides{
		Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey(), Cluster: map[string]string{"secrets-encryption": "false"},
	})
	if err != nil {
		return err
	}
	t.ExpectOnConsole(vm.Allowance{
		Re:     regexp.MustCompile(`Failed to start skerry-control\.service`),
		Reason: "a server must not start that can't read the cluster's Secrets",
	})
	if err := server.SetUserData(plain); err != nil {
		return err
	}
	if err := server.Reboot(ctx); err != nil {
		return err
	}
	if err := refusesToStart(ctx, t, server, regexp.MustCompile(`secrets-encryption is false, but this cluster's Secrets are encrypted.*skerry secrets-encrypt disable`)); err != nil {
		return err
	}
	if _, err := server.RunInput(ctx, "sudo skerry config apply -", strings.NewReader(string(encrypted))); err != nil {
		return err
	}
	return saysReady(ctx, server)
}
