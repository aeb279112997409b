import { randomBytes } from "node:crypto";
import { z } from "zod";
import { CtmError, waitFor } from "#system";
import { readDescriptorIfExists } from "#stack";
import { openWorkspace, selectStack, takeTurn } from "../../infra/automation/index.ts";
import { tokenName } from "../../infra/cloudflare/declared.ts";
import type { CloudflareSettings } from "../../infra/cloudflare/settings.ts";
import { defineCommand, type Context } from "../command.ts";
import { readTunnel } from "../facts/tunnel.ts";
import { required, textUpTo, toggle } from "../parameters.ts";
import { told } from "../up/apply.ts";
import { readAccessTokens } from "./access-tokens.ts";
import { applyTargets, changeSettings } from "./change-settings.ts";
import type { CloudflareClient } from "../../infra/cloudflare/cloudflare-client.ts";
import { requireAsDeclared } from "./inspect.ts";
import { openClient, openEdge, type OpenedEdge } from "./open-edge.ts";

/** Service tokens, and the policies that let them in. */
const accessTargets = [
  "**cloudflare:index/zeroTrustAccessServiceToken:ZeroTrustAccessServiceToken::*",
  "**cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy::*",
  "**cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication::*",
];
const tunnelTargets = ["**ctm:local:Service::cloudflared"];
/** As many bytes as Cloudflare asks for at least. */
const secretBytes = 32;
const connectedMs = 60_000;

const result = z.strictObject({
  stack: z.string(),
  name: z.string(),
  /** What was done: a successor made, the predecessor ended, or the tunnel's secret replaced. */
  step: z.enum(["begun", "finished", "replaced"]),
  /** Of the new service token, shown this once; null otherwise. */
  client_id: z.string().nullable(),
  client_secret: z.string().nullable(),
  /** The generations that Access lets in now; empty for the tunnel. */
  generations: z.array(z.int()),
});
type Result = z.infer<typeof result>;

export const command = defineCommand({
  help: "Replaces a service token in two steps, so that no client is shut out: first a second generation is made and shown this once, and both are let in; when every client has it, --finish ends the first. NAME `tunnel` replaces the tunnel's own secret at once and ends every connection that was opened with the old one, which takes some seconds of the API's time.",
  examples: [
    { run: "ctm edge rotate-token ci", does: "a second token for ci, beside the first" },
    { run: "ctm edge rotate-token ci --finish", does: "end the first one" },
    { run: "ctm edge rotate-token tunnel --yes", does: "after the tunnel's token has leaked" },
  ],
  arguments: { name: required("NAME", "a service token's name, or tunnel", textUpTo(32)) },
  flags: { finish: toggle("end the first generation, once clients have the second") },
  destructive: true,
  document: result,
  async run({ name, finish }, context) {
    const edge = await openEdge(context);
    if (name === "tunnel") return await replaceTunnelSecret(edge, finish, context);
    return finish
      ? await finishRotation(name, edge, context)
      : await beginRotation(name, edge, context);
  },
  render({ name, step, client_id: clientId, client_secret: secret, generations }, paint) {
    switch (step) {
      case "begun":
        return [
          `CF-Access-Client-Id:     ${paint.bold(clientId ?? "")}`,
          `CF-Access-Client-Secret: ${paint.bold(secret ?? "")}`,
          "",
          `This is the only time that they are shown. Generations ${generations.join(" and ")} of ${name} are let in.`,
          "",
          `next: give them to every client, then ctm edge rotate-token ${name} --finish`,
        ].join("\n");
      case "finished":
        return `Only generation ${generations.join()} of ${name} is let in.\n\nnext: ctm edge test`;
      case "replaced":
        return "The tunnel has a new secret, and cloudflared is connected with it.\n\nnext: ctm edge test";
    }
  },
});

async function beginRotation(
  name: string,
  { settings }: OpenedEdge,
  context: Context,
): Promise<Result> {
  const generations = generationsOf(name, settings);
  const [first] = generations;
  if (generations.length > 1 || first === undefined) {
    throw new CtmError(
      "rotation-under-way",
      `${name} has generations ${generations.join(" and ")}`,
      {
        next: `ctm edge rotate-token ${name} --finish`,
        exitCode: 2,
      },
    );
  }
  const next = first + 1;
  await context.confirm(
    `A second token of ${name} will be made; the first one works on until --finish.`,
  );
  const edge = await changeGenerations(name, [first, next], context);
  await checkTokens(edge, context);
  const made = (await readAccessTokens(edge.paths))[`${name}-${next}`];
  if (made === undefined) {
    throw new CtmError("rotation-unfinished", `up wrote no secret of ${name}-${next}`, {
      next: "npm run up",
    });
  }
  return {
    stack: context.stack,
    name,
    step: "begun",
    client_id: made.clientId,
    client_secret: made.clientSecret,
    generations: [first, next],
  };
}

async function finishRotation(name: string, opened: OpenedEdge, context: Context): Promise<Result> {
  const { settings } = opened;
  const [first, second] = generationsOf(name, settings).toSorted((one, other) => one - other);
  if (first === undefined || second === undefined) {
    throw new CtmError("no-rotation", `${name} has one generation only`, {
      next: `ctm edge rotate-token ${name}`,
      exitCode: 2,
    });
  }
  const lastSeen = await lastSeenOf(
    `${name}-${first}`,
    settings,
    await openClient(opened, context),
  );
  await context.confirm(
    `Generation ${first} of ${name} will end: clients that still use it are refused. Cloudflare saw it last ${lastSeen ?? "never"}.`,
  );
  await checkTokens(await changeGenerations(name, [second], context), context);
  return {
    stack: context.stack,
    name,
    step: "finished",
    client_id: null,
    client_secret: null,
    generations: [second],
  };
}

function generationsOf(name: string, { serviceTokens }: CloudflareSettings): number[] {
  const found = serviceTokens.find((token) => token.name === name);
  if (found !== undefined) return found.generations;
  const names = [...serviceTokens.map((token) => token.name), "tunnel"];
  throw new CtmError("no-such-token", `"${name}" is not one of ${names.join(", ")}`, {
    next: "ctm edge status",
    exitCode: 2,
  });
}

async function changeGenerations(
  name: string,
  generations: number[],
  context: Context,
): Promise<OpenedEdge> {
  const tokens = z.array(z.looseObject({ name: z.string() }));
  return await changeSettings(
    context,
    (settings) => ({
      ...settings,
      serviceTokens: tokens
        .parse(settings["serviceTokens"])
        .map((token) => (token.name === name ? { ...token, generations } : token)),
    }),
    accessTargets,
  );
}

async function checkTokens(edge: OpenedEdge, context: Context): Promise<void> {
  context.progress.step("asking Cloudflare which tokens it lets in");
  await requireAsDeclared(await openClient(edge, context), edge.settings, {
    parts: ["service tokens", "access"],
    otherwise: "rotation-unfinished",
  });
}

async function lastSeenOf(
  key: string,
  settings: CloudflareSettings,
  client: CloudflareClient,
): Promise<string | null> {
  const tokens = await client.list(
    `/accounts/${settings.accountId}/access/service_tokens`,
    z.looseObject({ name: z.string(), last_seen_at: z.string().nullish() }),
  );
  const found = tokens.find(({ name }) => name === tokenName(settings, key));
  return found?.last_seen_at ?? null;
}

/**
 * The tunnel's secret is no property of the program: set by an update, it makes the provider lose
 * strings of other resources (docs/decisions/0087). Cloudflare's API is asked, and then the
 * program hands the new token to cloudflared.
 */
async function replaceTunnelSecret(
  edge: OpenedEdge,
  finish: boolean,
  context: Context,
): Promise<Result> {
  if (finish) {
    throw new CtmError("no-rotation", "the tunnel's secret is replaced in one step", {
      next: "ctm edge rotate-token tunnel",
      exitCode: 2,
    });
  }
  const { settings } = edge;
  const client = await openClient(edge, context);
  const path = `/accounts/${settings.accountId}/cfd_tunnel`;
  const named = z.looseObject({ id: z.string() });
  const query = { name: settings.hostname, is_deleted: "false" };
  const [tunnel] = await client.list(path, named, query);
  if (tunnel === undefined) {
    throw new CtmError("no-tunnel", `Cloudflare has no tunnel named ${settings.hostname}`, {
      next: "npm run up",
    });
  }
  await context.confirm(
    `The tunnel of ${settings.hostname} will get a new secret, and every connection that was opened with the old one will end. The API cannot be reached from outside until cloudflared has connected again, some seconds later.`,
  );
  const report = (line: string): void => context.progress.step(line);
  // Ready before the old secret ends: what comes after is seconds without the API.
  report("making Pulumi ready");
  const workspace = await openWorkspace(context.stack, told(context), context.env);
  await takeTurn(workspace, report);
  await selectStack(workspace);
  report("replacing the secret");
  const secret = randomBytes(secretBytes).toString("base64");
  await client.patch(`${path}/${tunnel.id}`, { tunnel_secret: secret }, named);
  await client.delete(`${path}/${tunnel.id}/connections`);
  const descriptor = await readDescriptorIfExists(context.stack, edge.paths);
  if (descriptor === undefined) {
    // The edge is a stack of its own: the one with the API runs cloudflared.
    throw new CtmError(
      "connector-elsewhere",
      "the secret is replaced; cloudflared has the old one",
      {
        next: "npm run up, for the stack that ctm:cloudflareStack of which names this one",
      },
    );
  }
  await applyTargets(workspace, context, tunnelTargets);
  await waitFor(
    "cloudflared to be connected",
    connectedMs,
    async () => {
      const { connections } = await readTunnel(descriptor, { timeoutMs: 3_000 });
      return connections !== null && connections > 0 ? true : undefined;
    },
    { next: "ctm logs cloudflared" },
  );
  return {
    stack: context.stack,
    name: "tunnel",
    step: "replaced",
    client_id: null,
    client_secret: null,
    generations: [],
  };
}
