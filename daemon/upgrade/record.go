// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Record is what is remembered on STATE. Older and newer versions of this program read it: keys keep their meaning.
type Record struct {
	// Trial is what is under way, nil when nothing is.
	Trial *Trial `json:"trial,omitempty" yaml:"trial,omitempty"`
	// Last is how the last upgrade ended.
	Last *Outcome `json:"last,omitempty" yaml:"last,omitempty"`
}

// Trial is a version that is to prove itself.
type Trial struct {
	Version  string    `json:"version" yaml:"version"`
	RootHash string    `json:"roothash" yaml:"roothash"`
	From     string    `json:"from,omitempty" yaml:"from,omitempty"` // the version to go back to
	Begun    time.Time `json:"begun" yaml:"begun"`
	// Installed is false while the slot is written.
	Installed bool `json:"installed" yaml:"installed"`
	// ByHand is set for a rollback that somebody asked for.
	ByHand bool `json:"byHand,omitempty" yaml:"byHand,omitempty"`
	// Deadline and Stable are its terms, in seconds.
	Deadline int `json:"deadline,omitempty" yaml:"deadline,omitempty"`
	Stable   int `json:"stable,omitempty" yaml:"stable,omitempty"`
	// Boots are those that came as far as to count themselves, and BootID is the last of them.
	Boots  int    `json:"boots,omitempty" yaml:"boots,omitempty"`
	BootID string `json:"bootID,omitempty" yaml:"bootID,omitempty"`
	// Failure is why it was given up.
	Failure string `json:"failure,omitempty" yaml:"failure,omitempty"`
}

// Result is how an upgrade ended. The values are part of `skerry upgrade status -o json`.
type Result string

// The results.
const (
	Blessed     Result = "blessed"     // the version has proven itself
	FellBack    Result = "fell back"   // it has not, and the version before runs again
	RolledBack  Result = "rolled back" // by hand, and the older version has proven itself again
	Interrupted Result = "interrupted" // while the slot was written
)

// Outcome is how an upgrade ended.
type Outcome struct {
	Version string    `json:"version" yaml:"version"`
	From    string    `json:"from,omitempty" yaml:"from,omitempty"`
	Result  Result    `json:"result" yaml:"result"`
	Reason  string    `json:"reason,omitempty" yaml:"reason,omitempty"`
	At      time.Time `json:"at" yaml:"at"`
}

// String is an outcome for people, in one line.
func (o *Outcome) String() string {
	text := fmt.Sprintf("%s %s", o.Version, o.Result)
	if o.Result == FellBack && o.From != "" {
		text += " to " + o.From
	}
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}

// ReadRecord reads what is remembered. A file that can't be read is an error, and no reason not to boot.
func ReadRecord(path string) (Record, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func (u *Upgrader) record() (Record, error) { return ReadRecord(u.path(RecordFile)) }

func (u *Upgrader) remember(r Record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(u.path(RecordFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("remember the upgrade: %w", err)
	}
	return nil
}
