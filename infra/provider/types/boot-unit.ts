import { rm } from "node:fs/promises";
import { z } from "zod";
import { CtmError, readFileIfExists, run, writeFileAtomic } from "#system";
import { unitName } from "../../runtime/local/boot-unit.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  path: z.string().startsWith("/"),
  content: z.string(),
  /** Whether systemd starts it at boot. */
  enabled: z.boolean(),
});
export type BootUnitInputs = z.infer<typeof inputs>;

/** A systemd unit, enabled but not started: `up` has started what it would start. */
export const bootUnit = defineResourceType<BootUnitInputs, BootUnitInputs>({
  token: "ctm:local:BootUnit",
  inputs,
  secrets: [],
  replacedBy: ["path"],
  async create(wanted) {
    await install(wanted);
    return { id: wanted.path, outputs: wanted };
  },
  async read(_id, state) {
    const content = await readFileIfExists(state.path);
    if (content === undefined) return undefined;
    return { path: state.path, content, enabled: await isEnabled(state.path) };
  },
  async update(_id, _state, wanted) {
    await install(wanted);
    return wanted;
  },
  async delete(_id, state) {
    if ((await readFileIfExists(state.path)) === undefined) return;
    await run("systemctl", ["disable", unitName(state.path)]);
    await rm(state.path, { force: true });
    await run("systemctl", ["daemon-reload"]);
  },
});

async function install(wanted: BootUnitInputs): Promise<void> {
  await writeFileAtomic(wanted.path, wanted.content, { mode: 0o644 });
  await run("systemctl", ["daemon-reload"]);
  await run("systemctl", [wanted.enabled ? "enable" : "disable", unitName(wanted.path)]);
  if ((await isEnabled(wanted.path)) === wanted.enabled) return;
  throw new CtmError(
    "unit-not-enabled",
    `systemctl ended well, yet ${unitName(wanted.path)} is not as it should be`,
    { next: `systemctl status ${unitName(wanted.path)}` },
  );
}

async function isEnabled(path: string): Promise<boolean> {
  const { code } = await run("systemctl", ["is-enabled", "--quiet", unitName(path)], {
    accept: [0, 1, 4],
  });
  return code === 0;
}
