// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	configschema "github.com/skerry-os/skerry/config-schema"
)

const (
	// attempts of one request; the library waits between them, longer each time.
	attempts = 5
	// partBytes are uploaded at once, and held in memory.
	partBytes = 16 << 20
)

// lookups are the values of etcd-s3-bucket-lookup-type.
var lookups = map[string]minio.BucketLookupType{
	"": minio.BucketLookupAuto, "auto": minio.BucketLookupAuto, "dns": minio.BucketLookupDNS, "path": minio.BucketLookupPath,
}

// Bucket keeps snapshots in a folder of a bucket, on whatever speaks S3.
type Bucket struct {
	client       *minio.Client
	name, folder string
	timeout      time.Duration
}

// NewBucket returns the bucket of a configuration with defaults applied, or nil if that has none. Nothing is asked of the
// server yet.
func NewBucket(c *configschema.Cluster) (*Bucket, error) {
	if !c.EtcdS3 {
		return nil, nil //nolint:nilnil // there is none
	}
	transport, err := minio.DefaultTransport(!bool(c.EtcdS3Insecure))
	if err != nil {
		return nil, fmt.Errorf("etcd-s3: %w", err)
	}
	if err := trust(transport, c); err != nil {
		return nil, err
	}
	creds := credentials.NewStaticV4(c.EtcdS3AccessKey.Reveal(), c.EtcdS3SecretKey.Reveal(), c.EtcdS3SessionToken.Reveal())
	if c.EtcdS3AccessKey == "" {
		// As with K3s: of the environment, or of the machine's role in its cloud.
		creds = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.IAM{}})
	}
	client, err := minio.New(c.EtcdS3Endpoint, &minio.Options{
		Creds:        creds,
		Secure:       !bool(c.EtcdS3Insecure),
		Region:       c.EtcdS3Region,
		BucketLookup: lookups[c.EtcdS3BucketLookupType],
		Transport:    transport,
		MaxRetries:   attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("etcd-s3-endpoint: %w", err)
	}
	return &Bucket{
		client: client, name: c.EtcdS3Bucket, folder: strings.Trim(c.EtcdS3Folder, "/"), timeout: time.Duration(c.EtcdS3Timeout),
	}, nil
}

// trust sets what a server's certificate is checked with.
func trust(transport *http.Transport, c *configschema.Cluster) error {
	if transport.TLSClientConfig == nil {
		return nil // no TLS
	}
	transport.TLSClientConfig.InsecureSkipVerify = bool(c.EtcdS3SkipSSLVerify) //nolint:gosec // as the configuration says
	transport.TLSClientConfig.MinVersion = tls.VersionTLS12
	if c.EtcdS3EndpointCA == "" {
		return nil
	}
	bundle, err := os.ReadFile(c.EtcdS3EndpointCA)
	if err != nil {
		return fmt.Errorf("etcd-s3-endpoint-ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("etcd-s3-endpoint-ca: no certificate in %s", c.EtcdS3EndpointCA)
	}
	transport.TLSClientConfig.RootCAs = roots
	return nil
}

func (b *Bucket) key(file string) string { return path.Join(b.folder, file) }

func (b *Bucket) location(file string) string {
	url := *b.client.EndpointURL()
	url.Path = path.Join("/", b.name, b.key(file))
	return url.String()
}

// fail says what was being done to what.
func (b *Bucket) fail(doing, file string, err error) error {
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		err = fs.ErrNotExist
	}
	return fmt.Errorf("%s %s: %w", doing, b.location(file), err)
}

// List returns the snapshots in the bucket's folder.
func (b *Bucket) List(ctx context.Context) ([]Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	prefix := b.folder
	if prefix != "" {
		prefix += "/"
	}
	var all []Snapshot
	for object := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix}) {
		if object.Err != nil {
			return nil, b.fail("list", "", object.Err)
		}
		file := strings.TrimPrefix(object.Key, prefix)
		if !isSnapshot(file) {
			continue
		}
		s := Snapshot{Name: file, Place: S3, Location: b.location(file), Size: object.Size}
		if err := b.describe(ctx, &s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// describe reads the beginning of a snapshot.
func (b *Bucket) describe(ctx context.Context, s *Snapshot) error {
	options := minio.GetObjectOptions{}
	if err := options.SetRange(0, min(maxHeader, s.Size)-1); s.Size > 0 && err != nil {
		return b.fail("read", s.Name, err)
	}
	object, err := b.client.GetObject(ctx, b.name, b.key(s.Name), options)
	if err != nil {
		return b.fail("read", s.Name, err)
	}
	defer object.Close()
	beginning, err := io.ReadAll(io.LimitReader(object, maxHeader))
	if err != nil {
		return b.fail("read", s.Name, err)
	}
	s.describe(strings.NewReader(string(beginning)))
	return nil
}

// Upload sends a snapshot of the disk, and returns it as it is in the bucket. It is there as a whole or not at all.
func (b *Bucket) Upload(ctx context.Context, s Snapshot) (Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	file, err := os.Open(s.Location)
	if err != nil {
		return Snapshot{}, err
	}
	defer file.Close()
	if _, err := b.client.PutObject(ctx, b.name, b.key(s.Name), file, s.Size, minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: partBytes, NumThreads: 1,
	}); err != nil {
		return Snapshot{}, b.fail("send the snapshot to", s.Name, err)
	}
	s.Place, s.Location = S3, b.location(s.Name)
	return s, nil
}

// Download writes a snapshot to w. The error wraps fs.ErrNotExist if there is none of that name.
func (b *Bucket) Download(ctx context.Context, file string, w io.Writer) error {
	if !isSnapshot(file) {
		return fmt.Errorf("%q is no name of a snapshot", file)
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	object, err := b.client.GetObject(ctx, b.name, b.key(file), minio.GetObjectOptions{})
	if err != nil {
		return b.fail("fetch", file, err)
	}
	defer object.Close()
	if _, err := io.Copy(w, object); err != nil {
		return b.fail("fetch", file, err)
	}
	return nil
}

// Delete removes one snapshot.
func (b *Bucket) Delete(ctx context.Context, file string) error {
	if !isSnapshot(file) {
		return fmt.Errorf("%q is no name of a snapshot", file)
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	// S3 itself says of a deletion of nothing that it is done.
	if _, err := b.client.StatObject(ctx, b.name, b.key(file), minio.StatObjectOptions{}); err != nil {
		return b.fail("look for", file, err)
	}
	if err := b.client.RemoveObject(ctx, b.name, b.key(file), minio.RemoveObjectOptions{}); err != nil {
		return b.fail("delete", file, err)
	}
	return nil
}
