// SPDX-License-Identifier: Apache-2.0

// Package argument puts the arguments of a component of Kubernetes together: those
// that Skerry gives it, and those of the configuration, which are written as K3s
// has them. It knows nothing of what they mean.
package argument

import (
	"maps"
	"slices"
	"strings"
)

// Merge returns arguments in the form --name=value, ordered by name; the values of
// one name stay in their order. What the user gives replaces ours of the same
// name, and counts several times where it is given several times:
//
//	name=value    instead of ours
//	name+=value   after ours
//	name-=value   before ours
//	name          the same as name=true
//
// Names may have underscores for hyphens, as those of the components may.
func Merge(ours map[string]string, users []string) []string {
	values := map[string][]string{}
	for name, value := range ours {
		values[name] = []string{value}
	}
	replaced := map[string]bool{}
	for _, arg := range users {
		name, value, given := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !given {
			value = "true"
		}
		name, after := strings.CutSuffix(name, "+")
		name, before := strings.CutSuffix(name, "-")
		name = strings.ReplaceAll(name, "_", "-")
		switch {
		case after:
			values[name] = append(values[name], value)
		case before:
			values[name] = append([]string{value}, values[name]...)
		case replaced[name]:
			values[name] = append(values[name], value)
		default:
			values[name] = []string{value}
		}
		replaced[name] = true
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, value := range values[name] {
			all = append(all, "--"+name+"="+value)
		}
	}
	return all
}

// Take removes a name from a user's arguments, and returns the last value that it
// was given there.
func Take(users []string, name string) (rest []string, value string) {
	for _, arg := range users {
		key, given, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if strings.ReplaceAll(key, "_", "-") == name {
			value = given
			continue
		}
		rest = append(rest, arg)
	}
	return rest, value
}
