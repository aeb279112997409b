// The far copy's service: reads its configuration, then one round after the other until a signal.
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { copierConfiguration } from "./configuration.ts";
import { Copier } from "./copier.ts";

/** Longest pause while the far place is down: the lag after its return is at most that. */
const longestPauseMs = 60_000;

const { values } = parseArgs({ options: { config: { type: "string" } } });
const settings = copierConfiguration.parse(JSON.parse(await readFile(values.config ?? "", "utf8")));
const ended = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => ended.abort());

const copier = new Copier(settings);
let pauseMs = settings.everySeconds * 1000;
let said = "";
while (!ended.signal.aborted) {
  const well = await copier.round();
  pauseMs = well ? settings.everySeconds * 1000 : Math.min(pauseMs * 2, longestPauseMs);
  const news = copier.error ?? "the far copy is complete";
  if (news !== said) process.stdout.write(`${new Date().toISOString()} ${news}\n`);
  said = news;
  await delay(pauseMs, undefined, { signal: ended.signal }).catch(() => undefined);
}
