import { z } from "zod";
import { CtmError, exists, messageOf, waitFor } from "#system";
import {
  backendFiles,
  readDescriptor,
  readDescriptorIfExists,
  stackPaths,
  type Descriptor,
  type StackPaths,
} from "#stack";
import { startCluster } from "#runtime";
import type { Configuration } from "../../infra/config.ts";
import { provisioningOf } from "../../infra/postgres/connection.ts";
import { clusterOf, endpointsOf } from "../../infra/postgres/patroni.ts";
import {
  checkHome,
  hasResources,
  keepConfiguration,
  openWorkspace,
  ownBackend,
  previewSteps,
  pulumi,
  recoverPendingOperations,
  selectStack,
  takeTurn,
  type Step,
  type Workspace,
} from "../../infra/automation/index.ts";
import { clientOf } from "../../infra/cloudflare/find-existing.ts";
import { lossesOf } from "../../infra/secrets/lock.ts";
import { defineCommand, type Context } from "../command.ts";
import { refuseHalfDoneRestore } from "../recovery/restore-state.ts";
import { applyProgram, told } from "./apply.ts";

const address = z.strictObject({ host: z.string(), port: z.int(), database: z.string() });
const database = z.strictObject({ rw: address, ro: address, settings: z.string() });
const edge = z.strictObject({ url: z.string() });

export const command = defineCommand({
  help: "Provisions the whole platform with Pulumi, or repairs it: starts what should run, looks at what really exists, and changes what differs. A second run changes nothing. Asks only where data would be lost.",
  examples: [
    { run: "npm run up", does: "the whole platform on this machine" },
    { run: "ctm up --stack staging", does: "a second one, beside it" },
  ],
  arguments: {},
  flags: {},
  destructive: true,
  document: z.strictObject({
    stack: z.string(),
    /** How many resources were created, updated, replaced or deleted. */
    changes: z.int(),
    changed: z.array(
      z.strictObject({
        operation: z.string(),
        name: z.string(),
        properties: z.array(z.string()),
      }),
    ),
    /** Operations that a killed run had left pending, and what of them was taken over. */
    recovered: z.strictObject({ pending: z.int(), adopted: z.array(z.string()) }),
    duration_ms: z.int(),
    /** Null for a stack that is the edge of another one, and nothing else. */
    postgres: database.nullable(),
    api: z.strictObject({ url: z.string(), admin_url: z.string() }).nullable(),
    /** Null where no Cloudflare is before the API. */
    cloudflare: edge.nullable(),
  }),
  async run(_, context) {
    const begun = Date.now();
    const report = (line: string): void => context.progress.step(line);
    const paths = stackPaths(context.stack, context.env);
    await checkHome(paths);
    await refuseHalfDoneRestore(paths);
    const losses = await lossesOf(paths);
    // Before the engine makes an empty state, which would look as if the old one were there.
    if (losses[0] !== undefined && !(await mayHaveState(paths, context.env))) throw losses[0].error;
    report("making Pulumi ready");
    const workspace = await openWorkspace(context.stack, told(context), context.env);
    await takeTurn(workspace, report);
    report("opening the stack's state");
    const configuration = await selectStack(workspace);
    for (const { name, error } of losses) {
      if (!(await hasResources(workspace, name))) throw error;
    }

    const before = await readDescriptorIfExists(context.stack, paths);
    if (before !== undefined) await startOrRepair(workspace, before, context);
    const recovered = await recoverPendingOperations(
      workspace,
      {
        provisioning: before && provisioningOf(before),
        cloudflare: clientOf(configuration, context.signal),
      },
      report,
    );

    report("looking at what exists and what would change");
    const steps = await previewSteps(workspace);
    await allowLosses(workspace, steps, context);
    if (steps.length > 0) await applyProgram(workspace, context);
    await keepConfiguration(paths);

    const descriptor = await readDescriptorIfExists(context.stack, paths);
    if (descriptor !== undefined) await waitForSynchrony(descriptor, report);
    return {
      stack: context.stack,
      changes: steps.length,
      changed: steps.map(({ operation, name, properties }) => ({ operation, name, properties })),
      recovered: { pending: recovered.pending.length, adopted: recovered.adopted },
      duration_ms: Date.now() - begun,
      postgres: descriptor === undefined ? null : databaseOf(descriptor),
      api:
        descriptor === undefined
          ? null
          : { url: descriptor.api.url, admin_url: descriptor.api.adminUrl },
      cloudflare: edgeOf(configuration, descriptor),
    };
  },
  render(document, paint) {
    const {
      stack,
      changes,
      duration_ms: durationMs,
      postgres,
      api,
      cloudflare,
      recovered,
    } = document;
    const done =
      changes === 0
        ? "0 changes: everything is as the program says"
        : `${changes} ${changes === 1 ? "change" : "changes"}`;
    const recoveredLine =
      recovered.pending === 0
        ? []
        : [`A killed run had left ${recovered.pending} operations pending; they are finished.`];
    const option = stack === "local" ? "" : ` --stack ${stack}`;
    return [
      paint.bold(`The stack "${stack}" is up (${done}, ${Math.round(durationMs / 1000)} s).`),
      ...recoveredLine,
      "",
      ...(postgres === null ? [] : databaseLines(postgres)),
      ...(api === null ? [] : [`  API         ${api.url}  (health and metrics: ${api.admin_url})`]),
      `  Cloudflare  ${cloudflare === null ? "off: no token is configured" : cloudflare.url}`,
      ...(postgres === null
        ? []
        : [
            "",
            "next:",
            `  npx ctm status${option}`,
            `  npx ctm key create${option} --name first --user me --permission read:tasks --permission write:tasks`,
            `  npx ctm psql${option}`,
          ]),
    ].join("\n");
  },
});

/** Whether Pulumi can know anything of the stack: a backend that somebody logged in to may. */
async function mayHaveState(paths: StackPaths, env: NodeJS.ProcessEnv): Promise<boolean> {
  return ownBackend(paths, env) === undefined || (await exists(backendFiles(paths).checkpoint));
}

function databaseOf({ postgres }: Descriptor): z.infer<typeof database> {
  const { database: name, rw, ro, settings } = postgres;
  return { rw: { ...rw, database: name }, ro: { ...ro, database: name }, settings };
}

function databaseLines({ rw, ro, settings }: z.infer<typeof database>): string[] {
  return [
    `  database    ${rw.database} on ${rw.host}:${rw.port} (read-write) and ${ro.host}:${ro.port} (read-only)`,
    `  settings    ${settings}`,
  ];
}

/** A stack that is the edge alone has no descriptor; one with its edge elsewhere no settings. */
function edgeOf(
  { cloudflare }: Configuration,
  descriptor: Descriptor | undefined,
): z.infer<typeof edge> | null {
  if (cloudflare !== undefined) return { url: `https://${cloudflare.hostname}` };
  const url = descriptor?.edge?.url;
  return url === undefined ? null : { url };
}

/**
 * Types whose resources are files and processes of this host. They can be repaired while the
 * database is down; everything else needs it.
 */
const hostTypes = ["ctm:host:*", "ctm:tls:*", "ctm:local:*"];

/**
 * A failover after a crash takes up to 80 s (ttl 20, primary_start_timeout 60). A longer recovery
 * meets a repair that finds nothing to do, and then the second wait.
 */
const leaderTimeoutsMs = { first: 90_000, repaired: 600_000 };

/**
 * Starts what should run. Where a file or program was changed so that it cannot start, those are
 * repaired first: the whole run would fail on the database that does not answer.
 */
async function startOrRepair(
  workspace: Workspace,
  descriptor: Descriptor,
  context: Context,
): Promise<void> {
  const report = (line: string): void => context.progress.step(line);
  try {
    await refuseWithoutFiles(workspace, descriptor);
    await startCluster(descriptor, { report, leaderTimeoutMs: leaderTimeoutsMs.first });
  } catch (error) {
    context.progress.clear();
    process.stderr.write(
      `${messageOf(error)}\nThe stack does not start as it is: its files and services are repaired first.\n`,
    );
    const targets = hostTypes.flatMap((type) => ["--target", `**${type}::*`]);
    await applyProgram(workspace, context, targets);
    // Written anew with the rest: a port may be another one now.
    const repaired = await readDescriptor(context.stack, stackPaths(context.stack, context.env));
    await startCluster(repaired, { report, leaderTimeoutMs: leaderTimeoutsMs.repaired });
  }
}

/**
 * After `ctm restore machine` Pulumi knows a stack of which this machine has nothing but the data.
 *
 * @throws CtmError `file-missing`
 */
async function refuseWithoutFiles(workspace: Workspace, { supervisor }: Descriptor): Promise<void> {
  if ((await exists(supervisor.configuration)) || !(await hasResources(workspace))) return;
  throw new CtmError("file-missing", `${supervisor.configuration} does not exist`);
}

/** Patroni looks every five seconds, and a standby has to catch up before it is synchronous. */
const synchronyMs = 30_000;

/**
 * A stack is up when a commit is on two members. Where that takes longer, the stack serves
 * nevertheless, and `ctm status` warns.
 */
async function waitForSynchrony(
  descriptor: Descriptor,
  report: (line: string) => void,
): Promise<void> {
  if (!descriptor.postgres.synchronous) return;
  await waitFor(
    "a synchronous standby",
    synchronyMs,
    async () => {
      const { members } = await clusterOf(endpointsOf(descriptor));
      if (members.some(({ role }) => role === "sync_standby")) return true;
      report("waiting for a standby to be synchronous");
      return undefined;
    },
    { intervalMs: 500 },
  ).catch(() => undefined);
}

/** Asks where something that holds data would be replaced or deleted, and only there. */
async function allowLosses(
  workspace: Workspace,
  steps: readonly Step[],
  context: Context,
): Promise<void> {
  const losses = steps.filter(
    ({ isProtected, operation }) => isProtected && /replace|delete/.test(operation),
  );
  if (losses.length === 0) return;
  const lines = losses.map(
    ({ operation, name, properties }) => `  ${operation} ${name} (${properties.join(", ")})`,
  );
  context.progress.clear();
  await context.confirm(`This would lose data:\n${lines.join("\n")}`);
  for (const { urn } of losses) await pulumi(workspace, ["state", "unprotect", urn, "--yes"]);
}
