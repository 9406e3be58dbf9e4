// SPDX-License-Identifier: Apache-2.0

package scenario

import "context"

var sqlitePowerCut = Scenario{
	Name:   "sqlite-power-cut",
	Suite:  SuiteAll,
	Shows:  "ten power cuts at random moments while large objects are written: SQLite's database is whole each time, nothing acknowledged is lost, and no file is left half written",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		// Large enough that the write-ahead log is merged every few writes, so that cuts hit that, too.
		if _, err := cutPower(ctx, t, &writer{namespace: "sqlite", padding: 200_000}); err != nil {
			return err
		}
		return wholeAfterwards(ctx, t, t.server)
	},
}
