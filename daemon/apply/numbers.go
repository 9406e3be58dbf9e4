// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// numbersFile keeps which number each user and group has. Files on DATA know
// their owners by number: it must never change, and never go to somebody else.
const numbersFile = "/state/users.json"

// numbers are the uids and gids given out so far, also to names that have left
// the configuration. A user's own group has the user's number, so users and
// groups share one series.
type numbers struct {
	Users  map[string]int `json:"users"`
	Groups map[string]int `json:"groups"`
}

func (m *Machine) readNumbers() (*numbers, error) {
	n := &numbers{Users: map[string]int{}, Groups: map[string]int{}}
	data, err := os.ReadFile(m.path(numbersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", numbersFile, err)
	}
	if err := json.Unmarshal(data, n); err != nil {
		return nil, fmt.Errorf("read %s: %w", numbersFile, err)
	}
	return n, nil
}

func (m *Machine) writeNumbers(n *numbers) error {
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	return m.write(numbersFile, append(data, '\n'), 0o600, byRoot)
}

// assign gives every user of the list a number: the one in the configuration,
// the one it has had, or the first that is free.
func (n *numbers) assign(list []configschema.User) error {
	present := map[string]bool{}
	for i := range list {
		present[list[i].Name] = true
	}
	for _, user := range list {
		if user.UID == nil {
			continue
		}
		for other, number := range maps.All(n.Users) {
			if number != *user.UID || other == user.Name {
				continue
			}
			if present[other] {
				return fmt.Errorf("uid %d of user %s belongs to user %s since an earlier boot: choose another", number, user.Name, other)
			}
			delete(n.Users, other) // it left, and the configuration gives its number away
		}
		for group, number := range maps.All(n.Groups) {
			if number == *user.UID {
				return fmt.Errorf("uid %d of user %s is the number of group %s since an earlier boot: choose another", number, user.Name, group)
			}
		}
		n.Users[user.Name] = *user.UID
	}
	for _, user := range list {
		if _, known := n.Users[user.Name]; known {
			continue
		}
		low, high := configschema.MinUID, configschema.MaxUID
		if user.System {
			low, high = configschema.MinSystemUID, configschema.MaxSystemUID
		}
		number, err := n.free(low, high)
		if err != nil {
			return fmt.Errorf("user %s: %w", user.Name, err)
		}
		n.Users[user.Name] = number
	}
	return nil
}

// group returns the number of a group that isn't in the image.
func (n *numbers) group(name string) (int, error) {
	if number, known := n.Groups[name]; known {
		return number, nil
	}
	number, err := n.free(configschema.MinUID, configschema.MaxUID)
	if err != nil {
		return 0, fmt.Errorf("group %s: %w", name, err)
	}
	n.Groups[name] = number
	return number, nil
}

func (n *numbers) free(low, high int) (int, error) {
	taken := map[int]bool{}
	for number := range maps.Values(n.Users) {
		taken[number] = true
	}
	for number := range maps.Values(n.Groups) {
		taken[number] = true
	}
	for number := low; number <= high; number++ {
		if !taken[number] {
			return number, nil
		}
	}
	return 0, errors.New("every number is taken")
}

// names returns every user there has been.
func (n *numbers) names() []string { return slices.Sorted(maps.Keys(n.Users)) }
