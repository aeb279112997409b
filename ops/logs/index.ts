import { open } from "node:fs/promises";
import { z } from "zod";
import { CtmError, isMissing, systemErrorCode } from "#system";
import { badUsage, defineCommand } from "../command.ts";
import { nearest } from "../nearest.ts";
import { openStack } from "../open-stack.ts";
import { table } from "../paint.ts";
import { anyText, defaulted, optional, toggle, wholeNumber } from "../parameters.ts";
import { cleanEnvironment } from "../shell.ts";

export const command = defineCommand({
  help: "Shows the end of a service's log, or lists the services where none is named.",
  examples: [
    { run: "ctm logs", does: "the services, and where their logs are" },
    { run: "ctm logs api --lines 50", does: "the last 50 lines" },
    { run: "ctm logs api --follow", does: "and every new one, until Ctrl-C" },
  ],
  arguments: { service: optional("SERVICE", "whose log", anyText) },
  flags: {
    lines: defaulted("N", "how many lines of the end", "100", wholeNumber(0, 1_000_000)),
    follow: toggle("go on with every new line, through rotations"),
  },
  document: z.strictObject({
    services: z.array(z.strictObject({ name: z.string(), kind: z.string(), log: z.string() })),
    service: z.string().nullable(),
    lines: z.array(z.string()).nullable(),
  }),
  async run({ service, lines, follow }, context) {
    const { descriptor } = await openStack(context);
    const { services } = descriptor;
    if (service === undefined) {
      if (follow) throw badUsage("--follow needs a SERVICE");
      return { services, service: null, lines: null };
    }
    const found = services.find(({ name }) => name === service);
    if (found === undefined) {
      const names = services.map(({ name }) => name);
      const near = nearest(service, names);
      throw new CtmError("no-such-service", `"${service}" is not one of ${names.join(", ")}`, {
        next: near === undefined ? "ctm logs" : `ctm logs ${near}`,
        exitCode: 2,
      });
    }
    if (!follow) return { services, service, lines: await lastLines(found.log, lines) };
    if (context.json) throw badUsage("--follow never ends, so it has no JSON document");
    await context.handOver({
      command: "tail",
      args: [`--lines=${lines}`, "--follow=name", "--retry", found.log],
      env: cleanEnvironment(context.env),
    });
    return { services, service, lines: null };
  },
  render({ services, service, lines }, paint) {
    if (service !== null) return lines?.join("\n") ?? "";
    return [
      table(
        [["SERVICE", "KIND", "LOG"], ...services.map(({ name, kind, log }) => [name, kind, log])],
        paint,
      ),
      "",
      `next: ctm logs ${services[0]?.name ?? "SERVICE"}`,
    ].join("\n");
  },
});

const chunkBytes = 64 * 1024;

/** The last lines of a file, read from its end: logs may be larger than memory. */
export async function lastLines(path: string, count: number): Promise<string[]> {
  let file;
  try {
    file = await open(path, "r");
  } catch (error) {
    if (isMissing(error)) {
      throw new CtmError("no-log", `${path} does not exist`, { next: "ctm status" });
    }
    if (systemErrorCode(error) !== "EACCES") throw error;
    throw new CtmError("no-permission", `${path} cannot be read by this user`, {
      next: "run as root",
    });
  }
  try {
    let position = (await file.stat()).size;
    const chunks: Buffer[] = [];
    let lineEnds = 0;
    while (position > 0 && lineEnds <= count) {
      const length = Math.min(chunkBytes, position);
      position -= length;
      const { buffer } = await file.read(Buffer.alloc(length), 0, length, position);
      lineEnds += buffer.reduce((sum, byte) => sum + (byte === 0x0a ? 1 : 0), 0);
      chunks.unshift(buffer);
    }
    const lines = Buffer.concat(chunks).toString("utf8").split("\n");
    // A file that ends with a line end has no line behind it.
    if (lines.at(-1) === "") lines.pop();
    return count === 0 ? [] : lines.slice(-count);
  } finally {
    await file.close();
  }
}
