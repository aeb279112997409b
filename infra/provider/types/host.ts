import { z } from "zod";
import { findIdentity, identityOf, isRoot, run } from "#system";
import { installPackages, missingPackages } from "../../runtime/local/packages.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  /** Debian packages that must be installed. */
  packages: z.array(z.string().min(1)),
  /** Unprivileged OS user of everything but PostgreSQL. */
  serviceUser: z.string().min(1),
});
export type HostInputs = z.infer<typeof inputs>;

/** What the machine itself must have: packages and an unprivileged user. Deleting leaves both. */
export const host = defineResourceType<HostInputs, HostInputs>({
  token: "ctm:host:Host",
  inputs,
  secrets: [],
  replacedBy: [],
  async create(wanted, { report }) {
    await prepare(wanted, report);
    return { id: "host", outputs: wanted };
  },
  async read(_id, state) {
    const missing = new Set(await missingPackages(state.packages));
    const user = await findIdentity(state.serviceUser);
    return {
      packages: state.packages.filter((name) => !missing.has(name)),
      serviceUser: user === undefined ? "" : state.serviceUser,
    };
  },
  async update(_id, _state, wanted, { report }) {
    await prepare(wanted, report);
    return wanted;
  },
  async delete() {
    // Other stacks, and people, use the packages and the user.
  },
});

async function prepare(wanted: HostInputs, report: (line: string) => void): Promise<void> {
  await installPackages(wanted.packages, report);
  if ((await findIdentity(wanted.serviceUser)) === undefined && isRoot()) {
    await run("useradd", [
      "--system",
      "--user-group",
      "--no-create-home",
      "--home-dir",
      "/nonexistent",
      "--shell",
      "/usr/sbin/nologin",
      wanted.serviceUser,
    ]);
  }
  await identityOf(wanted.serviceUser);
}
