// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var snapshotS3 = Scenario{
	Name:   "snapshot-s3",
	Suite:  SuiteAll,
	Shows:  "snapshots are taken by a schedule and kept in a bucket, on a server that speaks S3 with a certificate of its own authority, as many as are to be kept; one is restored from there",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const (
			name, bucket = "s3.lab.example", "backups"
			key, secret  = "AKIDEXAMPLE", "secret-of-the-bucket"
			authority    = "/etc/rancher/k3s/s3-ca.crt"
			keep         = 2
		)
		certificate, ca, err := newCertificate(name)
		if err != nil {
			return err
		}
		backend := s3mem.New()
		if err := backend.CreateBucket(ctx, bucket); err != nil {
			return err
		}
		s3 := gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{key: secret}))
		if err := t.lab.ServeTLS(s3.Server(), certificate, []netip.Addr{netip.MustParseAddr("192.168.127.251")}, name); err != nil {
			return err
		}
		userData, err := t.exampleConfig("server.yaml", vm.Overrides{
			Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey(),
			Cluster: map[string]string{
				"token": clusterToken, "etcd-snapshot-schedule-cron": "@every 5s", "etcd-snapshot-retention": "3",
				"etcd-s3": "true", "etcd-s3-endpoint": name, "etcd-s3-endpoint-ca": authority, "etcd-s3-bucket": bucket,
				"etcd-s3-folder": "lab/one", "etcd-s3-access-key": key, "etcd-s3-secret-key": secret,
				"etcd-s3-retention": fmt.Sprint(keep), "etcd-s3-timeout": "30s",
			},
			Files: map[string]string{authority: string(ca)},
		})
		if err != nil {
			return err
		}
		server, err := t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData})
		if err != nil {
			return err
		}
		cluster, err := server.WaitServer(ctx)
		if err != nil {
			return err
		}
		var mine taken
		return t.Steps(
			step{"by the schedule, as many are kept as are to be", func() error {
				return vm.Wait(ctx, "five scheduled snapshots", 3*time.Minute, func(ctx context.Context) error {
					log, err := server.Run(ctx, "sudo journalctl --unit=skerry-control.service --grep='old snapshot is deleted' --output=cat | grep -c https:// || true")
					if err != nil {
						return err
					}
					if deleted, err := strconv.Atoi(strings.TrimSpace(log)); err != nil || deleted < 3 {
						return fmt.Errorf("%q were deleted from S3", log)
					}
					all, err := listSnapshots(ctx, server)
					if err != nil {
						return err
					}
					there := map[string]int{}
					for _, s := range all {
						there[s.Place]++
					}
					if there["disk"] != 3 || there["s3"] != keep {
						return fmt.Errorf("there are %v", there)
					}
					return nil
				})
			}},
			step{"one on demand is in both places", func() error {
				if _, err := cluster.CoreV1().ConfigMaps("default").Create(ctx, configMap("before", ""), metav1.CreateOptions{}); err != nil {
					return err
				}
				all, err := saveSnapshot(ctx, server)
				if err != nil {
					return err
				}
				if len(all) != 2 || all[0].Name != all[1].Name || all[1].Location != "https://"+name+"/"+bucket+"/lab/one/"+all[0].Name {
					return fmt.Errorf("it is %+v", all)
				}
				mine = all[0]
				_, err = cluster.CoreV1().ConfigMaps("default").Create(ctx, configMap("after", ""), metav1.CreateOptions{})
				return err
			}},
			step{"the secret key is nowhere in the journal", func() error {
				return mustFail(ctx, server, "sudo journalctl --output=cat | grep -q "+secret)
			}},
			step{"it is restored from S3, once the disk has it no more", func() error {
				if _, err := server.Run(ctx, "sudo rm "+mine.Location); err != nil {
					return err
				}
				if err := restoreSnapshot(ctx, server, mine.Name); err != nil {
					return err
				}
				if err := saysReady(ctx, server); err != nil {
					return err
				}
				return asTaken(ctx, cluster, "default")
			}},
			step{"delete it", func() error {
				if _, err := server.Run(ctx, "sudo skerry snapshot delete "+mine.Name); err != nil {
					return err
				}
				all, err := listSnapshots(ctx, server)
				if err == nil && slices.ContainsFunc(all, func(s taken) bool { return s.Name == mine.Name }) {
					err = fmt.Errorf("it is still there: %+v", all)
				}
				return err
			}},
		)
	},
}
