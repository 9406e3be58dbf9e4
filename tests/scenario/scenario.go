// SPDX-License-Identifier: Apache-2.0

// Package scenario has what whole machines must do, one file for each thing that a user would see.
//
// A scenario gets machines from its T, asserts what shows from outside (ssh, kubectl, the API, the console, the wire),
// and returns an error that says what was expected and what was seen. Machines are slow to boot without KVM, so
// scenarios share them: T.Server and T.Agent return machines that earlier scenarios have booted, if these passed, and a
// scenario leaves them as it found them. Each scenario runs alone too, and then boots what it needs.
package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Suite is when a scenario runs.
type Suite string

// The suites. "test-all" includes "test".
const (
	SuiteTest Suite = "test"     // with each change, minutes
	SuiteAll  Suite = "test-all" // before a release, an hour
)

// Scenario is something that a user would see.
type Scenario struct {
	Name  string // lower case with hyphens, also the name of its file
	Suite Suite
	Shows string // what a user would see, in one line
	// Native is set where firmware, kernel, disk and clock don't matter: the machines are native ones then.
	Native bool
	// OwnLab is set where a scenario would harm the machines it shares with others.
	OwnLab bool
	Run    func(ctx context.Context, t *T) error
}

// All lists the scenarios in the order in which they make the best use of each other's machines.
var All = slices.Concat([]Scenario{
	serverReady,
	readonlyRoot,
	rebootIdentity,
	powerCutIdentity,
	agentJoin,
	crossNodeTraffic,
	wrongToken,
	duplicateHostname,
	k3sCommands,
	serverUnreachable,
	verityTamper,
	invalidConfig,
}, sourceScenarios(), []Scenario{
	userdataInvalid,
	userdataLate,
	instanceCloned,
	clock1970,
	clock1970Offline,
	k3osMigrated,
	configChanged,
	configApply,
	kernelArgs,
	stateDamaged,
	rescueByHand,
	extension,
	extensionDriver,
	upgradeGood,
	upgradePlanSlots,
	upgradeTwice,
	upgradeOCI,
	upgradeTampered,
	upgradePowerCut,
	upgradeDiskFull,
	upgradeUnbootable,
	upgradeRootless,
	biosReady,
	biosISOInstall,
	biosKernelArgs,
	biosUpgradeUnbootable,
	upgradeNeverReady,
	upgradeGoodAfterFallback,
	rollbackByHand,
	diskGrown,
	emmc,
	tpmCleared,
	tpmUpgrade,
	secureBoot,
	secureBootWrongKey,
	secureBootInstall,
	resetMachine,
	isoCDROMInstall,
	isoUSBInstall,
	installInteractive,
	installPowerCut,
	installEncrypted,
	formatsBoot,
	netboot,
	netbootIPXE,
	arm64Ready,
	firewall,
	foregroundServer,
	netStaticTwoNICs,
	netBondVLAN,
	netNoDHCP,
	nicRenamed,
	threeAgents,
	bootstrapToken,
	registrationAddressRemoved,
	nodePasswordLost,
	nodeDeletedRejoins,
	hostnameReused,
	nodeID,
	serverRestartKeepsPods,
	legacyNodePasswd,
	fiftyAgents,
	certsRotated,
	certsNearExpiry,
	certsExpiredOff,
	certsExpiredRunning,
	caRotated,
	tokenRotated,
	agentReboots,
	serverPowerCuts,
	sqlitePowerCut,
	sqliteKill,
	diskFull,
	agentlessServer,
	agentBehindNAT,
	diskCloned,
	nodeFlags,
	upgradePlan,
	dualStack,
	bootstrapRace,
	lbFailover,
	lbAllDownAndBack,
	haAllOffAndOn,
	serverReplaced,
	serverIPChanged,
	snapshotRestore,
	snapshotRestoreEtcd,
	datastoreMigrate,
	snapshotDamaged,
	snapshotS3,
	secretsReencryptInterrupted,
	secretsReencryptServers,
}, storeScenarios(), haScenarios())

// Named returns the scenarios of these names, in the order of All.
func Named(names ...string) ([]Scenario, error) {
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n] = true
	}
	var chosen []Scenario
	var known []string
	for _, s := range All {
		known = append(known, s.Name)
		if wanted[s.Name] {
			chosen = append(chosen, s)
			delete(wanted, s.Name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(known, ", "))
	}
	return chosen, nil
}

// InSuite returns the scenarios that run in a suite.
func InSuite(suite Suite) ([]Scenario, error) {
	if suite != SuiteTest && suite != SuiteAll {
		return nil, fmt.Errorf("there is no suite %q; there are %s and %s", suite, SuiteTest, SuiteAll)
	}
	var chosen []Scenario
	for _, s := range All {
		if suite == SuiteAll || s.Suite == suite {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}
