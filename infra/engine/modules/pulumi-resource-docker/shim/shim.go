// Package shim reaches the provider, which lies under internal/ of its module: Go lets in whoever's
// import path begins with the same prefix.
package shim

import (
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/terraform-providers/terraform-provider-docker/internal/provider"
)

// NewProvider returns the Terraform provider for Docker.
func NewProvider(version string) *schema.Provider { return provider.New(version)() }
