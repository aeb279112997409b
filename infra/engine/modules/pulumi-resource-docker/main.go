// The Pulumi plugin of @pulumi/docker: the Terraform provider behind Pulumi's bridge.
//
// docker.Image is not part of it, as Pulumi's own plugin makes that one itself: images are built
// with docker.RemoteImage. Tokens of the other resources follow from the Terraform names. The
// schema stays empty because only code generators read it.
package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	sdkv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/terraform-providers/terraform-provider-docker/shim"
)

// Set by the linker to the version of the npm package.
var version string

func main() {
	exitWithEngine()
	info := tfbridge.ProviderInfo{
		P:       sdkv2.NewProvider(shim.NewProvider(version)),
		Name:    "docker",
		Version: version,
		Resources: map[string]*tfbridge.ResourceInfo{
			"docker_image":  {Tok: "docker:index/remoteImage:RemoteImage"},
			"docker_config": {Tok: "docker:index/serviceConfig:ServiceConfig"},
		},
		EnableZeroDefaultSchemaVersion: true,
	}
	info.MustComputeTokens(tokens.SingleModule("docker_", "index", tokens.MakeStandard("docker")))
	info.SetAutonaming(255, "-")
	tfbridge.Main("docker", version, info, []byte("{}"))
}
