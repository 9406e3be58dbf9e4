// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
)

// Reporter is a cloud that has to be told that its machine has come up.
type Reporter interface {
	ReportReady(ctx context.Context) error
}

var wireHeader = map[string]string{"x-ms-agent-name": "skerry", "x-ms-version": "2012-11-30"}

const maxGoalState = 1 << 20

// goalState is what the wire server wants of the machine: of it, only what the
// report has to repeat.
type goalState struct {
	Incarnation string `xml:"Incarnation"`
	Container   struct {
		ContainerID  string `xml:"ContainerId"`
		RoleInstance struct {
			InstanceID string `xml:"InstanceId"`
		} `xml:"RoleInstanceList>RoleInstance"`
	} `xml:"Container"`
}

// health is the report.
type health struct {
	XMLName     xml.Name `xml:"Health"`
	Incarnation string   `xml:"GoalStateIncarnation"`
	ContainerID string   `xml:"Container>ContainerId"`
	InstanceID  string   `xml:"Container>RoleInstanceList>Role>InstanceId"`
	State       string   `xml:"Container>RoleInstanceList>Role>Health>State"`
}

// ReportReady tells Azure that the machine is provisioned. Without it, Azure
// takes the machine for failed after some minutes, and may delete it. It must
// be told at each boot: the CD is taken out then.
func (z *Azure) ReportReady(ctx context.Context) error {
	talk := z.Fetcher.converse(z.Name(), fixed(z.Wire))
	q := query{path: "/machine/?comp=goalstate", limit: maxGoalState, header: wireHeader, again: azureAgain}
	reply, err := talk.ask(ctx, q)
	if err == nil && reply.code != http.StatusOK {
		err = talk.refused(q, reply)
	}
	if err != nil {
		return fmt.Errorf("report to Azure that this machine is ready: %w", err)
	}
	var goal goalState
	if err := xml.Unmarshal(reply.body, &goal); err != nil {
		return fmt.Errorf("report to Azure that this machine is ready: goal state: %w", err)
	}
	if goal.Container.ContainerID == "" || goal.Container.RoleInstance.InstanceID == "" {
		return errors.New("report to Azure that this machine is ready: the goal state names no container or no instance")
	}
	report, err := xml.Marshal(&health{
		Incarnation: goal.Incarnation, ContainerID: goal.Container.ContainerID,
		InstanceID: goal.Container.RoleInstance.InstanceID, State: "Ready",
	})
	if err != nil {
		return err
	}
	header := map[string]string{"Content-Type": "text/xml; charset=utf-8"}
	for key, value := range wireHeader {
		header[key] = value
	}
	q = query{
		method: http.MethodPost, path: "/machine?comp=health", limit: maxGoalState, header: header, again: azureAgain,
		body: append([]byte(xml.Header), report...),
	}
	if reply, err = talk.ask(ctx, q); err == nil && reply.code/100 != 2 {
		err = talk.refused(q, reply)
	}
	if err != nil {
		return fmt.Errorf("report to Azure that this machine is ready: %w", err)
	}
	return nil
}
