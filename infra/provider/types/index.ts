// Every resource type of the `ctm` provider.
import type { AnyResourceType } from "../resource-type.ts";
import { bundle } from "./bundle.ts";
import { authority } from "./authority.ts";
import { bootUnit } from "./boot-unit.ts";
import { certificate } from "./certificate.ts";
import { closedFunctions } from "./closed-functions.ts";
import { clusterSettings } from "./cluster-settings.ts";
import { cluster } from "./cluster.ts";
import { directory } from "./directory.ts";
import { dropMarkers } from "./drop-markers.ts";
import { file, secretFile } from "./file.ts";
import { functionGrants } from "./function-grants.ts";
import { host } from "./host.ts";
import { login } from "./login.ts";
import { migrations } from "./migrations.ts";
import { ports } from "./ports.ts";
import { roleSettings } from "./role-settings.ts";
import { secret } from "./secret.ts";
import { service } from "./service.ts";
import { stanza } from "./stanza.ts";
import { supervisor } from "./supervisor.ts";

export const resourceTypes: readonly AnyResourceType[] = [
  bundle,
  authority,
  bootUnit,
  certificate,
  closedFunctions,
  cluster,
  clusterSettings,
  directory,
  dropMarkers,
  file,
  functionGrants,
  host,
  login,
  migrations,
  ports,
  roleSettings,
  secret,
  secretFile,
  service,
  stanza,
  supervisor,
];
