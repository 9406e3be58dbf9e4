// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"strings"

	"github.com/robfig/cron/v3"
)

// snapshotKeys are of snapshots, which servers with a datastore of their own take.
var snapshotKeys = []string{
	"etcd-disable-snapshots", "etcd-snapshot-schedule-cron", "etcd-snapshot-retention", "etcd-snapshot-dir",
	"etcd-snapshot-name", "etcd-snapshot-compress", "etcd-s3",
}

// bucketKeys are of the bucket that etcd-s3 turns on.
var bucketKeys = []string{
	"etcd-s3-endpoint", "etcd-s3-endpoint-ca", "etcd-s3-skip-ssl-verify", "etcd-s3-insecure", "etcd-s3-access-key",
	"etcd-s3-secret-key", "etcd-s3-session-token", "etcd-s3-bucket", "etcd-s3-bucket-lookup-type", "etcd-s3-region",
	"etcd-s3-folder", "etcd-s3-retention", "etcd-s3-timeout",
}

var (
	snapshotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	bucketName   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

func (c *Cluster) checkSnapshots(s scope) {
	if c.EtcdSnapshotScheduleCron != "" {
		if _, err := cron.ParseStandard(c.EtcdSnapshotScheduleCron); err != nil {
			s.problem(s.at("etcd-snapshot-schedule-cron"), quote(c.EtcdSnapshotScheduleCron)+" is no schedule of cron",
				"minute, hour, day, month and weekday, such as 0 */6 * * *, or @daily")
		}
	}
	if c.EtcdSnapshotName != "" && !snapshotName.MatchString(c.EtcdSnapshotName) {
		s.problem(s.at("etcd-snapshot-name"), quote(c.EtcdSnapshotName)+" can't be a part of a file's name",
			"up to 64 letters, digits, dots, hyphens and underscores")
	}
	for key, number := range map[string]int{"etcd-snapshot-retention": c.EtcdSnapshotRetention, "etcd-s3-retention": c.EtcdS3Retention} {
		if s.has(key) && number < 1 {
			s.problem(s.at(key), "must be at least 1", "etcd-disable-snapshots: true takes none")
		}
	}
	if s.has("etcd-snapshot-compress") && !bool(c.EtcdSnapshotCompress) {
		s.problem(s.at("etcd-snapshot-compress"), "snapshots are always compressed", "remove the key, or write true")
	}
	c.checkBucket(s)
}

func (c *Cluster) checkBucket(s scope) {
	switch {
	case bool(c.EtcdS3) && c.EtcdS3Bucket == "":
		s.problem(s.at("etcd-s3"), "there is no bucket", "name it in etcd-s3-bucket")
	case c.EtcdS3Bucket != "" && !bucketName.MatchString(c.EtcdS3Bucket):
		s.problem(s.at("etcd-s3-bucket"), quote(c.EtcdS3Bucket)+" is not the name of a bucket",
			"3 to 63 lower-case letters, digits, dots and hyphens")
	}
	if s.has("etcd-s3-access-key") != s.has("etcd-s3-secret-key") {
		key := "etcd-s3-access-key"
		if s.has("etcd-s3-secret-key") {
			key = "etcd-s3-secret-key"
		}
		s.problem(s.at(key), "etcd-s3-access-key and etcd-s3-secret-key belong together", "give both, or none")
	}
	if strings.Contains(c.EtcdS3Endpoint, "://") || strings.Contains(c.EtcdS3Endpoint, "/") {
		s.problem(s.at("etcd-s3-endpoint"), quote(c.EtcdS3Endpoint)+" is more than a server",
			"host or host:port; etcd-s3-insecure: true is for http, etcd-s3-folder for a path")
	}
	if bool(c.EtcdS3Insecure) && (bool(c.EtcdS3SkipSSLVerify) || c.EtcdS3EndpointCA != "") {
		s.problem(s.at("etcd-s3-insecure"), "without TLS there is no certificate to check",
			"remove etcd-s3-insecure, or etcd-s3-skip-ssl-verify and etcd-s3-endpoint-ca")
	}
	if s.has("etcd-s3-timeout") && c.EtcdS3Timeout == 0 {
		s.problem(s.at("etcd-s3-timeout"), "must be more than 0", "")
	}
}

// snapshotWarnings says what nothing reads.
func (c *Cluster) snapshotWarnings(idle func(disabled Switch, by string, keys []string)) {
	endpoint := string(c.DatastoreEndpoint) // a reference is to no file of SQLite's either
	shared := Switch(endpoint != "" && !strings.HasPrefix(endpoint, "sqlite://"))
	idle(shared, "datastore-endpoint", snapshotKeys)
	idle(!c.EtcdS3, "without etcd-s3: true", bucketKeys)
}
