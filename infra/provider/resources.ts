import * as pulumi from "@pulumi/pulumi";
import { formerBundleToken, type BundleInputs } from "./types/bundle.ts";
import type { AuthorityInputs } from "./types/authority.ts";
import type { BootUnitInputs } from "./types/boot-unit.ts";
import type { CertificateInputs } from "./types/certificate.ts";
import type { ClosedFunctionsInputs } from "./types/closed-functions.ts";
import type { ClusterInputs } from "./types/cluster.ts";
import type { ClusterSettingsInputs } from "./types/cluster-settings.ts";
import type { DirectoryInputs } from "./types/directory.ts";
import type { DropMarkersInputs } from "./types/drop-markers.ts";
import type { FileInputs } from "./types/file.ts";
import type { FunctionGrantsInputs } from "./types/function-grants.ts";
import type { HostInputs } from "./types/host.ts";
import type { LoginInputs } from "./types/login.ts";
import type { MigrationsInputs } from "./types/migrations.ts";
import type { PortsInputs } from "./types/ports.ts";
import type { RoleSettingsInputs } from "./types/role-settings.ts";
import type { SecretInputs } from "./types/secret.ts";
import type { ServiceInputs } from "./types/service.ts";
import type { StanzaInputs } from "./types/stanza.ts";
import type { SupervisorInputs } from "./types/supervisor.ts";

/** Version of the `ctm` provider; the engine asks the plugin for the same. */
export const providerVersion = "0.1.0";

/** Arguments as a program writes them: any value may be another resource's output. */
type Arguments<Inputs> = { [Key in keyof Inputs]: pulumi.Input<Inputs[Key]> };
type Options = pulumi.CustomResourceOptions;

/** What the program writes for one resource type of the `ctm` provider. */
class CtmResource<Inputs extends object> extends pulumi.CustomResource {
  constructor(
    token: string,
    name: string,
    inputs: Arguments<Inputs>,
    outputs: string[],
    options: Options,
  ) {
    const properties: Record<string, unknown> = { ...inputs };
    for (const output of outputs) properties[output] = undefined;
    super(token, name, properties, { ...options, version: providerVersion });
  }
}

export class Host extends CtmResource<HostInputs> {
  constructor(name: string, inputs: Arguments<HostInputs>, options: Options = {}) {
    super("ctm:host:Host", name, inputs, [], options);
  }
}

export class Ports extends CtmResource<PortsInputs> {
  declare readonly ports: pulumi.Output<Record<string, number>>;
  constructor(name: string, inputs: Arguments<PortsInputs>, options: Options = {}) {
    super("ctm:host:Ports", name, inputs, ["ports"], options);
  }
}

export class Directory extends CtmResource<DirectoryInputs> {
  declare readonly path: pulumi.Output<string>;
  constructor(name: string, inputs: Arguments<DirectoryInputs>, options: Options = {}) {
    super("ctm:host:Directory", name, inputs, [], options);
  }
}

export class Secret extends CtmResource<SecretInputs> {
  declare readonly path: pulumi.Output<string>;
  declare readonly value: pulumi.Output<string>;
  declare readonly verifier: pulumi.Output<string>;
  constructor(name: string, inputs: Arguments<SecretInputs>, options: Options = {}) {
    super("ctm:host:Secret", name, inputs, ["value", "verifier"], options);
  }
}

export class File extends CtmResource<FileInputs> {
  constructor(name: string, inputs: Arguments<FileInputs>, options: Options = {}) {
    super("ctm:host:File", name, inputs, [], options);
  }
}

export class SecretFile extends CtmResource<FileInputs> {
  constructor(name: string, inputs: Arguments<FileInputs>, options: Options = {}) {
    super("ctm:host:SecretFile", name, inputs, [], options);
  }
}

export class Authority extends CtmResource<AuthorityInputs> {
  declare readonly fingerprint: pulumi.Output<string>;
  constructor(name: string, inputs: Arguments<AuthorityInputs>, options: Options = {}) {
    super("ctm:tls:Authority", name, inputs, ["fingerprint"], options);
  }
}

export class Certificate extends CtmResource<CertificateInputs> {
  declare readonly fingerprint: pulumi.Output<string>;
  constructor(name: string, inputs: Arguments<CertificateInputs>, options: Options = {}) {
    super("ctm:tls:Certificate", name, inputs, ["fingerprint"], options);
  }
}

export class Supervisor extends CtmResource<SupervisorInputs> {
  constructor(name: string, inputs: Arguments<SupervisorInputs>, options: Options = {}) {
    super("ctm:local:Supervisor", name, inputs, [], options);
  }
}

export class BootUnit extends CtmResource<BootUnitInputs> {
  constructor(name: string, inputs: Arguments<BootUnitInputs>, options: Options = {}) {
    super("ctm:local:BootUnit", name, inputs, [], options);
  }
}

export class Service extends CtmResource<ServiceInputs> {
  constructor(name: string, inputs: Arguments<ServiceInputs>, options: Options = {}) {
    super("ctm:local:Service", name, inputs, [], options);
  }
}

export class Cluster extends CtmResource<ClusterInputs> {
  constructor(name: string, inputs: Arguments<ClusterInputs>, options: Options = {}) {
    super("ctm:postgres:Cluster", name, inputs, ["systemIdentifier", "serverVersion"], options);
  }
}

export class ClusterSettings extends CtmResource<ClusterSettingsInputs> {
  constructor(name: string, inputs: Arguments<ClusterSettingsInputs>, options: Options = {}) {
    super("ctm:postgres:ClusterSettings", name, inputs, [], options);
  }
}

export class Login extends CtmResource<LoginInputs> {
  constructor(name: string, inputs: Arguments<LoginInputs>, options: Options = {}) {
    super("ctm:postgres:Login", name, inputs, [], options);
  }
}

export class RoleSettings extends CtmResource<RoleSettingsInputs> {
  constructor(name: string, inputs: Arguments<RoleSettingsInputs>, options: Options = {}) {
    super("ctm:postgres:RoleSettings", name, inputs, [], options);
  }
}

export class FunctionGrants extends CtmResource<FunctionGrantsInputs> {
  constructor(name: string, inputs: Arguments<FunctionGrantsInputs>, options: Options = {}) {
    super("ctm:postgres:FunctionGrants", name, inputs, [], options);
  }
}

export class ClosedFunctions extends CtmResource<ClosedFunctionsInputs> {
  constructor(name: string, inputs: Arguments<ClosedFunctionsInputs>, options: Options = {}) {
    super("ctm:postgres:ClosedFunctions", name, inputs, [], options);
  }
}

export class DropMarkers extends CtmResource<DropMarkersInputs> {
  constructor(name: string, inputs: Arguments<DropMarkersInputs>, options: Options = {}) {
    super("ctm:postgres:DropMarkers", name, inputs, [], options);
  }
}

export class Stanza extends CtmResource<StanzaInputs> {
  constructor(name: string, inputs: Arguments<StanzaInputs>, options: Options = {}) {
    super("ctm:backup:Stanza", name, inputs, [], options);
  }
}

export class Migrations extends CtmResource<MigrationsInputs> {
  constructor(name: string, inputs: Arguments<MigrationsInputs>, options: Options = {}) {
    super("ctm:database:Migrations", name, inputs, [], options);
  }
}

export class Bundle extends CtmResource<BundleInputs> {
  declare readonly path: pulumi.Output<string>;
  constructor(name: string, inputs: Arguments<BundleInputs>, options: Options = {}) {
    super("ctm:host:Bundle", name, inputs, [], {
      ...options,
      aliases: [{ type: formerBundleToken }],
    });
  }
}
