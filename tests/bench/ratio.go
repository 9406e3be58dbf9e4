// SPDX-License-Identifier: Apache-2.0

package main

import "strings"

// Ratio compares a number of our server with the rival's, both of the same run.
type Ratio struct {
	Name   string  `json:"name"`
	Ours   float64 `json:"ours"`
	Theirs float64 `json:"theirs"`
	Ratio  float64 `json:"ratio"` // Ours by Theirs
}

// seenReady is when the API has said to somebody outside that the node is Ready.
const seenReady = "node Ready, seen from outside"

// kubernetesPrograms are the programs that are Kubernetes and its datastore, ours and the rival's. containerd and what runs in
// pods is the same on both.
var kubernetesPrograms = append([]string{"skerry control", "skerry-kube control", "skerry node", "skerry-kube node", "skerry daemon"}, rivalPrograms...)

func compare(ours, theirs MachineReport) []Ratio {
	ratios := []Ratio{
		{Name: "memory in use, MiB", Ours: float64(ours.Idle.MemUsed) / 1024, Theirs: float64(theirs.Idle.MemUsed) / 1024},
		{Name: "PSS of Kubernetes, MiB", Ours: kubernetesPSS(ours), Theirs: kubernetesPSS(theirs)},
		{Name: "idle CPU, % of all", Ours: ours.Idle.CPUPercent, Theirs: theirs.Idle.CPUPercent},
		{Name: seenReady + ", s", Ours: stageOf(ours, seenReady), Theirs: stageOf(theirs, seenReady)},
	}
	for i := range ratios {
		if r := &ratios[i]; r.Theirs > 0 {
			r.Ratio = r.Ours / r.Theirs
		}
	}
	return ratios
}

func kubernetesPSS(m MachineReport) float64 {
	var kib int64
	for _, p := range m.Idle.Processes {
		for _, name := range kubernetesPrograms {
			if p.Name == name || strings.HasPrefix(p.Name, name+" ") {
				kib += p.PSS
				break
			}
		}
	}
	return float64(kib) / 1024
}

func stageOf(m MachineReport, name string) float64 {
	for _, s := range m.Boot {
		if s.Name == name {
			return s.Seconds
		}
	}
	return 0
}
