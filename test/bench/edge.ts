// What the edge's rules block of other people's attacks, on each plan and for each place where an
// attack can stand; and of ordinary requests. The figures of docs/edge-rules.md.
import { CtmError } from "#system";
import {
  compileRules,
  plans,
  zoneRules,
  type Plan,
  type Rule,
} from "../../infra/cloudflare/rules/index.ts";
import {
  hasAttackLists,
  readAttacks,
  type Attack,
} from "../../infra/cloudflare/rules/testing/attacks.ts";
import { measureAttacks, type Measured } from "../../infra/cloudflare/rules/testing/measure.ts";
import {
  hasOrdinaryTexts,
  everyOrdinaryRequest,
  ordinaryRequests,
} from "../../infra/cloudflare/rules/testing/ordinary.ts";
import { exampleSettings } from "../../infra/cloudflare/testing/example-settings.ts";

const percent = (blocked: number, sent: number): string =>
  sent === 0 ? "–" : `${((100 * blocked) / sent).toFixed(1)} %`;

/**
 * `npm run bench -- edge [--misses] [--every]`: what of the held-out half was missed; and every
 * ordinary text there is, not a thousand.
 */
export async function benchEdge(args: readonly string[]): Promise<void> {
  if (!hasAttackLists || !hasOrdinaryTexts) {
    throw new CtmError("packages-missing", "the payload lists of Debian's packages are missing", {
      next: "apt-get install sqlmap wfuzz modsecurity-crs fortunes postgresql-15",
    });
  }
  const attacks = await readAttacks();
  const ordinary = await ordinaryRequests();
  const halves = {
    tuned: attacks.filter(({ half }) => half === "tuned"),
    heldOut: attacks.filter(({ half }) => half === "held out"),
  };
  console.log(
    `${attacks.length} attacks (${halves.tuned.length} tuned on, ${halves.heldOut.length} held out), ${ordinary.length} ordinary requests\n`,
  );
  console.log("| plan | part | placements | tuned on | held out |");
  console.log("|---|---|---|---|---|");
  const misses: { plan: string; measured: Measured[] }[] = [];
  for (const plan of plans) {
    const custom = customRulesOf(plan);
    const tuned = measureAttacks(custom, halves.tuned);
    const heldOut = measureAttacks(custom, halves.heldOut);
    for (const part of ["path", "query", "header", "body"] as const) {
      const row = (measured: readonly Measured[]): string => {
        const own = measured.filter(({ placement }) => placement.part === part);
        const sum = (name: "sent" | "blocked"): number =>
          own.reduce((total, one) => total + one[name], 0);
        const rates = own.map(({ blocked, sent }) => blocked / sent);
        const least = percent(Math.min(...rates), 1);
        return `${percent(sum("blocked"), sum("sent"))} (least ${least})`;
      };
      const count = tuned.filter(({ placement }) => placement.part === part).length;
      console.log(`| ${plan} | ${part} | ${count} | ${row(tuned)} | ${row(heldOut)} |`);
    }
    misses.push({ plan, measured: heldOut });
    const decide = compileRules(custom);
    const stopped = ordinary.filter(({ request }) => decide(request).action !== "allow").length;
    console.log(`| ${plan} | ordinary requests blocked | | ${stopped} of ${ordinary.length} | |`);
  }
  printKinds(misses.find(({ plan }) => plan === "business")?.measured ?? [], halves.heldOut);
  if (args.includes("--every")) await printEvery();
  if (!args.includes("--misses")) return;
  for (const { plan, measured } of misses) {
    if (plan !== "business" && plan !== "enterprise") continue;
    const part = plan === "business" ? "query search, url-encoded" : "body description";
    const missed = measured.find(({ placement }) => placement.name === part)?.missed ?? [];
    console.log(`\nheld out and missed by ${plan}, ${part}:`);
    for (const { source, payload } of missed) console.log(`  ${source}: ${payload.slice(0, 160)}`);
  }
}

async function printEvery(): Promise<void> {
  const every = await everyOrdinaryRequest();
  console.log("\n| plan | browsers and programs | searches | descriptions |");
  console.log("|---|---|---|---|");
  for (const plan of plans) {
    const decide = compileRules(customRulesOf(plan));
    const cells = ["browsers and programs", "searches", "descriptions"].map((source) => {
      const own = every.filter((one) => one.source === source);
      const stopped = own.filter(({ request }) => decide(request).action !== "allow");
      return `${stopped.length} of ${own.length}`;
    });
    console.log(`| ${plan} | ${cells.join(" | ")} |`);
  }
}

function customRulesOf(plan: Plan): Rule[] {
  return zoneRules(
    exampleSettings({
      plan,
      mayDegrade: { customRules: true, rateLimits: true, managedRules: true },
    }),
  ).custom;
}

/** The kinds of attacks are of very different numbers: each by itself. */
function printKinds(measured: readonly Measured[], attacks: readonly Attack[]): void {
  const search = measured.find(({ placement }) => placement.name === "query search, url-encoded");
  console.log("\n| business, search parameter, held out | sent | blocked |");
  console.log("|---|---|---|");
  for (const kind of ["sql", "injection", "traversal"] as const) {
    const sent = attacks.filter((one) => one.kind === kind).length;
    const missed = search?.missed.filter((one) => one.kind === kind).length ?? sent;
    console.log(`| ${kind} | ${sent} | ${percent(sent - missed, sent)} |`);
  }
}
