// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// newS3 runs a server that speaks S3 over TLS and knows one pair of keys, and returns the configuration of a bucket there.
func newS3(t *testing.T) *configschema.Cluster {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(t.Context(), "backups"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{"AKIDEXAMPLE": "s3-secret"}))
	server := httptest.NewTLSServer(fake.Server())
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &configschema.Cluster{
		EtcdS3: true, EtcdS3Endpoint: strings.TrimPrefix(server.URL, "https://"), EtcdS3EndpointCA: ca, EtcdS3Bucket: "backups",
		EtcdS3Region: "us-east-1", EtcdS3Folder: "clusters/one", EtcdS3AccessKey: "AKIDEXAMPLE", EtcdS3SecretKey: "s3-secret",
		EtcdS3Timeout: configschema.Seconds(20 * time.Second),
	}
}

func newBucket(t *testing.T, c *configschema.Cluster) *Bucket {
	t.Helper()
	b, err := NewBucket(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBucket(t *testing.T) {
	taker := newTaker(t)
	config := newS3(t)
	taker.Bucket = newBucket(t, config)
	var last []Snapshot
	for range 3 {
		var err error
		if last, err = taker.Take(t.Context(), Request{Name: "etcd-snapshot", KeepS3: 2}); err != nil {
			t.Fatal(err)
		}
	}
	if len(last) != 2 || last[0].Place != Disk || last[1].Place != S3 || !strings.HasSuffix(last[1].Location, "/backups/clusters/one/"+last[0].Name) {
		t.Errorf("taken %+v", last)
	}
	all, err := taker.Bucket.List(t.Context())
	if err != nil || len(all) != 2 || len(names(t, taker.Folder)) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	Sort(all)
	if all[0].Header != last[0].Header || all[0].Size != last[0].Size || all[0].Problem != "" {
		t.Errorf("listed %+v, want %+v", all[0], last[0])
	}
	var fetched bytes.Buffer
	if err := taker.Bucket.Download(t.Context(), last[0].Name, &fetched); err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile(last[0].Location); err != nil || !bytes.Equal(want, fetched.Bytes()) {
		t.Errorf("%v; %d bytes, want %d", err, fetched.Len(), len(want))
	}
	// Another folder of the same bucket has others.
	elsewhere := *config
	elsewhere.EtcdS3Folder = "clusters"
	if got := names(t, newBucket(t, &elsewhere)); len(got) > 0 {
		t.Errorf("another folder has %q", got)
	}
	if err := taker.Bucket.Delete(t.Context(), last[0].Name); err != nil {
		t.Error(err)
	}
	for doing, err := range map[string]error{
		"delete":   taker.Bucket.Delete(t.Context(), last[0].Name),
		"download": taker.Bucket.Download(t.Context(), last[0].Name, &fetched),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s what is gone: %v", doing, err)
		}
	}
	if got := names(t, taker.Bucket); slices.Contains(got, last[0].Name) || len(got) != 1 {
		t.Errorf("%q are left", got)
	}
}

// TestBucketRefuses has servers that can't be used: the snapshot is on disk all the same, and no secret is in an error.
func TestBucketRefuses(t *testing.T) {
	taker := newTaker(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for name, test := range map[string]struct {
		change func(c *configschema.Cluster)
		says   string
	}{
		"another authority": {func(c *configschema.Cluster) { c.EtcdS3EndpointCA = "" }, "certificate"},
		"wrong key":         {func(c *configschema.Cluster) { c.EtcdS3SecretKey = "not-the-secret" }, ""},
		"no such bucket":    {func(c *configschema.Cluster) { c.EtcdS3Bucket = "other" }, "bucket"},
		"no S3":             {func(c *configschema.Cluster) { c.EtcdS3Endpoint = strings.TrimPrefix(plain.URL, "http://") }, ""},
	} {
		config := newS3(t)
		config.EtcdS3Timeout = configschema.Seconds(3 * time.Second)
		test.change(config)
		taker.Bucket = newBucket(t, config)
		taken, err := taker.Take(t.Context(), Request{Name: "x"})
		if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), config.EtcdS3Endpoint) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: a secret is in %v", name, err)
		}
		if len(taken) != 1 || !exists(taken[0].Location) {
			t.Errorf("%s: taken %+v", name, taken)
		}
	}
	config := newS3(t)
	config.EtcdS3EndpointCA = ""
	config.EtcdS3SkipSSLVerify = true
	if _, err := newBucket(t, config).List(t.Context()); err != nil {
		t.Errorf("any certificate: %v", err)
	}
	config.EtcdS3EndpointCA = filepath.Join(t.TempDir(), "none.crt")
	if _, err := NewBucket(config); err == nil || !strings.Contains(err.Error(), "etcd-s3-endpoint-ca") {
		t.Errorf("no CA: %v", err)
	}
	if b, err := NewBucket(&configschema.Cluster{}); b != nil || err != nil {
		t.Errorf("none configured: %v, %v", b, err)
	}
}
