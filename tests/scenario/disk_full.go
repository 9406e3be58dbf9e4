// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// ballast fills what the disk has left, also what is kept for root.
const ballast = `f=/var/ballast; free() { stat -f -c '%f %S' /var | { read n s; echo $((n * s)); }; }
fallocate -l $(($(free) - 64 * 1024 * 1024)) $f && ! dd if=/dev/zero of=$f.2 bs=64K 2>/dev/null && sync; free`

var diskFull = Scenario{
	Name:   "disk-full",
	Suite:  SuiteAll,
	Native: true,
	Shows:  "the disk fills up under writes: the API refuses them and goes on answering, the machine tells; once there is space, all goes on by itself, and nothing acknowledged is lost",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.disk = smallDisk
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		const namespace = "disk-full"
		if err := cluster.Namespace(ctx, namespace); err != nil {
			return err
		}
		w := &writer{cluster: cluster, namespace: namespace, padding: 200_000, pause: 100 * time.Millisecond}
		pid := func() (string, error) {
			return server.Run(ctx, "systemctl show --property=MainPID,NRestarts skerry-control.service")
		}
		var before string
		return t.Steps(
			step{"objects are written", func() error {
				if before, err = pid(); err != nil {
					return err
				}
				w.start(ctx)
				return w.waitProgress(ctx, 10)
			}},
			step{"the disk is full: writes are refused, in words", func() error {
				out, err := server.Run(ctx, "sudo sh -c '"+strings.ReplaceAll(ballast, "'", `'"'"'`)+"'")
				if err != nil {
					return err
				}
				t.Note("%s bytes are left", strings.TrimSpace(out))
				last, err := w.waitRefused(ctx, 3)
				if err != nil {
					return err
				}
				if !strings.Contains(last.Error(), "is its disk full") {
					return fmt.Errorf("a write is refused with %w", last)
				}
				return nil
			}},
			step{"the API answers, with all that it has acknowledged", func() error { return w.check(ctx, t, cluster) }},
			step{"skerry status tells", func() error {
				return says(ctx, server, "sudo skerry status || true",
					regexp.MustCompile(`(?s)problem: the datastore does not store what is written.*problem: the disk of the datastore has \d+ MiB left`))
			}},
			step{"so does a metric", func() error {
				return kubectlHas(ctx, server, `skerry_datastore_alarm{reason="DatastoreRefusesWrites"} 1`, "get", "--raw", "/metrics")
			}},
			step{"with space again, writes go on without a restart", func() error {
				if _, err := server.Run(ctx, "sudo rm /var/ballast /var/ballast.2"); err != nil {
					return err
				}
				if err := w.waitProgress(ctx, 10); err != nil {
					return err
				}
				w.stop()
				after, err := pid()
				if err != nil {
					return err
				}
				if after != before {
					return fmt.Errorf("the control plane was %q and is %q", before, after)
				}
				return w.check(ctx, t, cluster)
			}},
			step{"the alarm is over, and an Event of the Node tells of it", func() error {
				return vm.Wait(ctx, "the Event", vm.PodTimeout, func(ctx context.Context) error {
					events, err := cluster.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{
						FieldSelector: "involvedObject.kind=Node,involvedObject.name=" + serverName + ",reason=DatastoreRecovered",
					})
					if err != nil {
						return err
					}
					for i := range events.Items {
						if strings.Contains(events.Items[i].Message, "DatastoreRefusesWrites") {
							return nil
						}
					}
					return fmt.Errorf("there are %d of other alarms", len(events.Items))
				})
			}},
			step{"DNS and storage run, where the kubelet had to make room", func() error {
				if err := cluster.WaitReady(ctx, serverName); err != nil {
					return err
				}
				return vm.Wait(ctx, "the pods", pressurePatience, func(ctx context.Context) error {
					return podsRun(ctx, cluster, "k8s-app=kube-dns", "app=local-path-provisioner")
				})
			}},
			step{"the database is whole", func() error { return wholeDatabase(ctx, t, server) }},
		)
	},
}

// smallDisk is in GiB.
const smallDisk = 10

// pressurePatience is longer than the kubelet waits, five minutes, before it takes back that the disk is full.
const pressurePatience = 12 * time.Minute
