// The Temporal command line, built with a newer SQLite driver than its own release.
//
// The driver of v1.5.1 wedges a development server for good under load ("Failed to start
// transaction. Error: interrupted (9)"); modernc.org/sqlite 1.44.3 and later do not.
package main

import (
	"context"

	"github.com/temporalio/cli/temporalcli"

	_ "modernc.org/sqlite"
	// The time zones, for machines that have none.
	_ "time/tzdata"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	temporalcli.Execute(ctx, temporalcli.CommandOptions{})
}
