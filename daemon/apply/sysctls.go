// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/daemon/config"
)

// sysctlFile keeps the settings for devices that come later: udev applies those
// of a network interface when it appears. It sorts after the image's files.
const sysctlFile = "/etc/sysctl.d/90-skerry.conf"

// sysctlsBefore has the values that settings had before this boot changed them.
const sysctlsBefore = "/run/skerry/sysctls-before.json"

// sysctls sets kernel settings, and reports every one that couldn't be set. One
// that has left the configuration gets back the value it had.
func sysctls(_ context.Context, m *Machine, loaded *config.Loaded) error {
	settings := loaded.Config.Skerry.Sysctls
	failures := []error{m.rememberSysctls(settings)}
	if _, ok := settings[freeReserve]; !ok {
		failures = append(failures, m.shrinkFreeReserve())
	}
	if len(settings) == 0 {
		return errors.Join(append(failures, m.remove(sysctlFile))...)
	}
	var rendered bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&rendered, "%s = %s\n", name, settings[name])
		if err := m.setSysctl(name, settings[name]); err != nil {
			failures = append(failures, err)
		}
	}
	failures = append(failures, m.write(sysctlFile, rendered.Bytes(), 0o644, byRoot))
	return errors.Join(failures...)
}

// freeReserve is the setting for how much memory in KiB the kernel keeps free.
const freeReserve = "vm.min_free_kbytes"

// shrinkFreeReserve undoes what the kernel does for transparent huge pages, be
// they only on request: it keeps some 45 MiB free, and counts the double of that
// as not available, on a machine of 1 GiB too. What it would keep without them
// is min_free_kbytes of mm/page_alloc.c, by the size of the memory.
func (m *Machine) shrinkFreeReserve() error {
	memory, err := m.memory()
	if err != nil {
		return fmt.Errorf("sysctl %s: %w", freeReserve, err)
	}
	kib := math.Sqrt(float64(memory>>10) * 16)
	return m.setSysctl(freeReserve, strconv.Itoa(int(min(max(kib, 128), 256<<10))))
}

// rememberSysctls puts back the settings that are not wanted any more, and
// remembers what the others are before they are changed.
func (m *Machine) rememberSysctls(wanted map[string]string) error {
	before := map[string]string{}
	text, known, err := m.remembered(sysctlsBefore)
	if err != nil {
		return err
	}
	if known {
		if err := json.Unmarshal([]byte(text), &before); err != nil {
			return fmt.Errorf("read %s: %w", sysctlsBefore, err)
		}
	}
	changed, failures := false, []error(nil)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, ok := wanted[name]; !ok {
			failures = append(failures, m.setSysctl(name, before[name]))
			delete(before, name)
			changed = true
		}
	}
	for name := range wanted {
		if _, ok := before[name]; ok {
			continue
		}
		value, err := os.ReadFile(m.path(sysctlPath(name)))
		if err != nil {
			continue // there are settings that can only be written
		}
		before[name] = strings.TrimSuffix(string(value), "\n")
		changed = true
	}
	if changed {
		data, err := json.Marshal(before)
		if err != nil {
			return err
		}
		failures = append(failures, m.remember(sysctlsBefore, string(data)))
	}
	return errors.Join(failures...)
}

func (m *Machine) setSysctl(name, value string) error {
	file, err := os.OpenFile(m.path(sysctlPath(name)), os.O_WRONLY|os.O_TRUNC, 0) // never O_CREATE
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sysctl %s: this kernel has no such setting; it may need a module", name)
	}
	if err != nil {
		return fmt.Errorf("sysctl %s: %w", name, err)
	}
	_, err = file.WriteString(value + "\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("sysctl %s = %s: %w", name, value, err)
	}
	return nil
}

// sysctlPath translates a name as sysctl(8) does: whichever of dot and slash
// comes first separates, and the other is part of a name.
// net.ipv4.conf.eth0/100.rp_filter is of the interface eth0.100.
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		name = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, name)
	}
	return "/proc/sys/" + name
}
