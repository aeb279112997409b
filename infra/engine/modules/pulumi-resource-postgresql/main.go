// The Pulumi plugin of @pulumi/postgresql: the Terraform provider behind Pulumi's bridge.
//
// Tokens of resources follow from the Terraform names; the two below differ in what Pulumi's own
// plugin does beyond that. The schema stays empty because only code generators read it.
package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	sdkv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/terraform-providers/terraform-provider-postgresql/postgresql"
)

// Set by the linker to the version of the npm package.
var version string

func main() {
	exitWithEngine()
	info := tfbridge.ProviderInfo{
		P:       sdkv2.NewProvider(postgresql.Provider()),
		Name:    "postgresql",
		Version: version,
		Resources: map[string]*tfbridge.ResourceInfo{
			"postgresql_grant": {
				Tok:                 "postgresql:index/grant:Grant",
				DeleteBeforeReplace: true,
			},
			"postgresql_default_privileges": {
				Tok: "postgresql:index/defaultPrivileges:DefaultPrivileges",
			},
		},
		EnableZeroDefaultSchemaVersion: true,
		EnableAccurateBridgePreview:    true,
	}
	info.MustComputeTokens(tokens.SingleModule("postgresql_", "index", tokens.MakeStandard("postgresql")))
	info.SetAutonaming(255, "-")
	tfbridge.Main("postgresql", version, info, []byte("{}"))
}
