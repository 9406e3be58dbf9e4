// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/config"
)

// phonePause is the first pause between two tries.
const phonePause = 10 * time.Second

// notAvailable is what cloud-init sends of what a machine doesn't have.
const notAvailable = "N/A"

// phoneHome tells a URL that the machine is there. It counts as done when the
// URL has taken it.
func phoneHome(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	wanted := loaded.Config.PhoneHome
	if wanted == nil {
		return nil
	}
	return m.oncePerInstance(loaded, "phone_home", func() error {
		id, err := m.instanceID(loaded)
		if err != nil {
			return err
		}
		form, err := m.phoneHomeForm(loaded, id, wanted.Fields())
		if err != nil {
			return err
		}
		client, err := m.client(loaded)
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		address := strings.NewReplacer("$INSTANCE_ID", url.PathEscape(id), "${INSTANCE_ID}", url.PathEscape(id)).Replace(wanted.URL)
		err = m.retry(ctx, wanted.MaxTries(), phonePause, func() error {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
			if err != nil {
				return err
			}
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			_, err = do(client, request)
			return err
		})
		if err != nil {
			return fmt.Errorf("phone_home: %w; it is tried again at the next boot", err)
		}
		return nil
	})
}

// publicKeys are the files of the host keys, by the names of their fields.
var publicKeys = map[string]string{
	"pub_key_ed25519": hostKeyDir + "/ssh_host_ed25519_key.pub",
	"pub_key_ecdsa":   hostKeyDir + "/ssh_host_ecdsa_key.pub",
}

func (m *Machine) phoneHomeForm(loaded *config.Loaded, id string, fields []string) (url.Values, error) {
	form := url.Values{}
	for _, field := range fields {
		value := notAvailable
		switch field {
		case "instance_id":
			value = id
		case "hostname":
			value = loaded.Hostname
		case "fqdn":
			value = loaded.FQDN
		}
		if file := publicKeys[field]; file != "" {
			data, err := os.ReadFile(m.path(file))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("read a public key: %w", err)
			}
			if err == nil {
				value = strings.TrimSpace(string(data))
			}
		}
		form.Set(field, value)
	}
	return form, nil
}
