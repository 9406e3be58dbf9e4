// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/userdata"
)

var (
	// ErrNone says that no source has a configuration.
	ErrNone = errors.New("no cloud-config was found: attach a volume labelled cidata with a file named user-data, or name a URL with config_url= on the kernel command line, and boot again")
	// ErrNetwork says that the configuration, or a part of it, is on the network.
	ErrNetwork = errors.New("the cloud-config is fetched when the network is up")
)

// Loader loads the configuration of one boot: first Local, and Network when
// that says ErrNetwork. Both return configschema.Problems when the document
// they found is not valid. A valid document is kept for later boots.
type Loader struct {
	Sources *source.Set
	// Around is what the machine has beside the document.
	Around Surroundings
	Log    *slog.Logger
	// Instead is a user-data to be looked at in the place of what the source has,
	// and of what was applied before. Its name is for messages. Nil for none.
	Instead *Instead
	// Look loads a configuration without keeping it: Keep does that.
	Look bool

	// known is what the first source said that knows this machine, but has no
	// cloud-config for it.
	known *source.Document
	// pending is a document that waits for the network, with the instance-id of
	// who delivered it, and layers are what there is of it.
	pending    *source.Document
	instanceID string
	layers     *Layers
}

// Instead is a user-data from elsewhere.
type Instead struct {
	Name string
	Data []byte
}

// appliedName is what messages call a user-data that was applied earlier.
const appliedName = "the applied user-data"

// Load loads the configuration as a boot does, on a machine that has a network
// by now.
func (l *Loader) Load(ctx context.Context) (*Loaded, error) {
	loaded, err := l.Local(ctx)
	if errors.Is(err, ErrNetwork) {
		return l.Network(ctx)
	}
	return loaded, err
}

// instead puts what is to be looked at, or what was applied, in the place of the
// user-data of a document.
func (l *Loader) instead(given *source.Document) (*source.Document, error) {
	document := *given
	switch {
	case l.Instead != nil:
		document.UserData, document.UserDataName = l.Instead.Data, l.Instead.Name
	case l.Sources.Applied != nil:
		data, err := l.Sources.Applied.Instead(given.UserData)
		if err != nil || data == nil {
			return given, err
		}
		l.Log.Info("the user-data applied with skerry config apply is used instead of that of " + given.Name)
		document.UserData, document.UserDataName = data, appliedName
	default:
		return given, nil
	}
	return &document, nil
}

// Keep keeps a configuration for later boots.
func (l *Loader) Keep(loaded *Loaded) error {
	given, applied := loaded.Given, l.Sources.Applied
	if given.Source != l.Sources.Kept.Name() {
		if err := l.Sources.Kept.Keep(given); err != nil {
			return err
		}
	}
	if applied == nil {
		return nil
	}
	if l.Instead != nil {
		return applied.Put(given.UserData, l.Instead.Data)
	}
	stale, err := applied.Sweep(given.UserData)
	if stale {
		l.Log.Warn(given.Name + " has another user-data since one was applied with skerry config apply; that one is not used any more")
	}
	return err
}

// Local asks the media. Where there is nothing on the network to ask either,
// the kept copy is what the machine has. It needs the network, and says
// ErrNetwork, when there is no document yet or one that includes another.
func (l *Loader) Local(ctx context.Context) (*Loaded, error) {
	document, instanceID, err := l.local(ctx)
	if err != nil {
		return nil, err
	}
	loaded, err := l.accept(ctx, document, instanceID, l.Around.AtHand)
	if errors.Is(err, ErrNetwork) {
		l.pending, l.instanceID = document, instanceID
	}
	return loaded, err
}

func (l *Loader) local(ctx context.Context) (document *source.Document, instanceID string, err error) {
	for _, s := range l.Sources.Local {
		document, err := s.Fetch(ctx)
		if errors.Is(err, source.ErrAbsent) {
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("load the cloud-config from %s: %w", s.Name(), err)
		}
		if document.UserData == nil {
			l.remember(document)
			continue
		}
		if l.Sources.Network != nil {
			l.Log.Info(document.Name+" has the cloud-config; that of the network is not fetched", "network", l.Sources.Network.Name())
		}
		l.inherit(document)
		return document, document.InstanceID, nil
	}
	if l.Sources.Network != nil {
		return nil, "", fmt.Errorf("%w: no medium has it, %s is asked", ErrNetwork, l.Sources.Network.Name())
	}
	return l.kept(ctx)
}

// Waits says whether there is a document, of which a part is on the network.
func (l *Loader) Waits() bool { return l.pending != nil }

// Network asks the source of the network, unless a document is there and only
// what it includes is not. The kept copy stands in for a server that doesn't
// answer or has nothing, but not for an answer that is wrong.
func (l *Loader) Network(ctx context.Context) (*Loaded, error) {
	if l.pending != nil {
		return l.accept(ctx, l.pending, l.instanceID, l.Around.Fetcher)
	}
	s := l.Sources.Network
	document, err := s.Fetch(ctx)
	switch {
	case err == nil && document.UserData != nil:
		l.inherit(document)
		return l.accept(ctx, document, document.InstanceID, l.Around.Fetcher)
	case err == nil:
		l.remember(document)
	case errors.Is(err, source.ErrNoAnswer), errors.Is(err, source.ErrMissing):
		loaded, keptErr := l.fromKept(ctx)
		if errors.Is(keptErr, ErrNone) {
			return nil, fmt.Errorf("load the cloud-config from %s: %w", s.Name(), err)
		}
		l.Log.Warn("the cloud-config could not be fetched; going on with the copy of the last one", "source", s.Name(), "error", err)
		return loaded, keptErr
	case !errors.Is(err, source.ErrAbsent):
		return nil, fmt.Errorf("load the cloud-config from %s: %w", s.Name(), err)
	}
	return l.fromKept(ctx)
}

// Interim is what can be said of the network before there is a whole
// configuration, which may have to be fetched over it: nil when nothing can be
// said. What is wrong with it may be put right by what is fetched.
func (l *Loader) Interim() (*configschema.Network, configschema.Problems) {
	if l.layers != nil {
		if network := configschema.InterimNetwork(l.layers.All()); network != nil {
			return network, nil
		}
	}
	switch {
	case l.pending != nil:
		return networkOf(nil, l.pending)
	case l.known != nil:
		return networkOf(nil, l.known)
	}
	return nil, nil
}

func (l *Loader) remember(document *source.Document) {
	if l.known == nil {
		l.known = document
	}
}

// inherit takes over the network from a source that knows this machine, and has
// nothing else for it: a medium may do no more than describe the network over
// which the rest is fetched.
func (l *Loader) inherit(document *source.Document) {
	if l.known != nil && document.NetworkConfig == nil {
		document.NetworkConfig, document.NetworkConfigKind = l.known.NetworkConfig, l.known.NetworkConfigKind
	}
}

func (l *Loader) fromKept(ctx context.Context) (*Loaded, error) {
	document, instanceID, err := l.kept(ctx)
	if err != nil {
		return nil, err
	}
	return l.accept(ctx, document, instanceID, l.Around.Fetcher)
}

// kept takes the kept copy. What a source knows of this machine counts more than
// what the copy knows of the machine it was made on: an image with a
// configuration in it becomes many machines.
func (l *Loader) kept(ctx context.Context) (document *source.Document, instanceID string, err error) {
	document, err = l.Sources.Kept.Fetch(ctx)
	switch {
	case errors.Is(err, source.ErrAbsent) && l.known != nil:
		return nil, "", fmt.Errorf("%w (%s knows this machine, but has no user-data for it)", ErrNone, l.known.Name)
	case errors.Is(err, source.ErrAbsent):
		return nil, "", ErrNone
	case err != nil:
		return nil, "", fmt.Errorf("load the cloud-config from %s: %w", l.Sources.Kept.Name(), err)
	}
	if known := l.known; known != nil {
		l.Log.Info(known.Name + " has no user-data for this machine; the copy of the last cloud-config is used")
		instanceID = known.InstanceID
		document.InstanceID, document.LocalHostname, document.PublicKeys = known.InstanceID, known.LocalHostname, known.PublicKeys
		document.NetworkConfig, document.NetworkConfigKind = known.NetworkConfig, known.NetworkConfigKind
	}
	return document, instanceID, nil
}

// accept merges a document with the other layers, and keeps it when the result is
// valid.
func (l *Loader) accept(ctx context.Context, document *source.Document, instanceID string, fetcher userdata.Fetcher) (*Loaded, error) {
	given := document
	document, err := l.instead(given)
	if err != nil {
		return nil, err
	}
	layers, err := l.Around.layers(ctx, document, fetcher)
	if err == nil && len(layers.unfetched) > 0 {
		l.layers = layers
		return nil, fmt.Errorf("%w: the user-data of %s includes %s", ErrNetwork, document.Name, strings.Join(layers.unfetched, ", "))
	}
	loaded, err := judge(document, layers, err)
	var problems configschema.Problems
	if errors.As(err, &problems) {
		l.Log.Error("the cloud-config is not valid", "source", document.Name, "problems", len(problems))
	}
	if err != nil {
		return nil, err
	}
	loaded.Given, loaded.InstanceID = given, instanceID
	if err := loaded.name(l.Around.MachineID); err != nil {
		return nil, err
	}
	l.addKeys(loaded)
	if !l.Look {
		// The boot goes on without a copy: the machine has its configuration now,
		// and only boots without the source are at stake.
		if err := l.Keep(loaded); err != nil {
			l.Log.Warn("the cloud-config could not be kept for boots without its source", "error", err)
		}
	}
	return loaded, nil
}

// judge merges the layers, unless they could not be had for the reason given.
// What is wrong with any of it comes as configschema.Problems, those of the
// network definition last.
func judge(document *source.Document, layers *Layers, err error) (*Loaded, error) {
	loaded := &Loaded{Document: document, Layers: layers}
	if err == nil {
		loaded.Merged, err = layers.Merge()
	}
	var problems configschema.Problems
	if err != nil && !errors.As(err, &problems) {
		return nil, err
	}
	if loaded.Merged != nil {
		loaded.Config = loaded.Merged.Config
		problems = loaded.Merged.Resolve(ReadSecret)
	}
	network, more := networkOf(loaded.Config, document)
	if problems = append(problems, more...); len(problems) > 0 {
		return nil, problems
	}
	loaded.Network = network
	return loaded, nil
}

// addKeys gives the default user the keys that the cloud has for it. A
// configuration that lists its users and leaves that one out has none: it says
// who may log in, and nobody else may.
func (l *Loader) addKeys(loaded *Loaded) {
	c, keys := loaded.Config, loaded.Document.PublicKeys
	if len(keys) == 0 {
		return
	}
	isDefault := func(u configschema.User) bool { return u.Name == configschema.DefaultUser }
	if len(c.Users) > 0 && len(c.SSHAuthorizedKeys) == 0 && !slices.ContainsFunc(c.Users, isDefault) {
		l.Log.Info("the SSH keys of the cloud are not used: the cloud-config lists users, and not the default one", "keys", len(keys))
		return
	}
	for i, text := range keys {
		if problem := configschema.CheckAuthorizedKey(text); problem != "" {
			l.Log.Warn(fmt.Sprintf("SSH key %d of the cloud %s; it is not used", i+1, problem), "source", loaded.Document.Name)
			continue
		}
		if key := configschema.AuthorizedKey(text); !slices.Contains(c.SSHAuthorizedKeys, key) {
			c.SSHAuthorizedKeys = append(c.SSHAuthorizedKeys, key)
		}
	}
}
