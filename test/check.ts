// Lint and types: everything that needs no server. First part of `npm test`.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** A tool of the checks, how it is called, and what to do when it finds something. */
interface Check {
  name: string;
  command: string;
  args: readonly string[];
  next: string;
}

const root = fileURLToPath(new URL("..", import.meta.url));

export const checks: readonly Check[] = [
  {
    name: "types",
    command: "npx",
    args: ["--no-install", "tsc", "--noEmit"],
    next: "npx tsc --noEmit",
  },
  {
    name: "lint",
    command: "npx",
    args: ["--no-install", "oxlint", "--type-aware", "--deny-warnings"],
    next: "npx oxlint --type-aware",
  },
  {
    name: "format",
    command: "npx",
    args: ["--no-install", "oxfmt", "--check"],
    next: "npx oxfmt",
  },
  {
    name: "dead code",
    command: "npx",
    args: ["--no-install", "knip", "--no-progress"],
    next: "npx knip",
  },
  {
    name: "shell",
    command: "shellcheck",
    args: [
      ".ci/run",
      "infra/provider/pulumi-resource-ctm",
      "infra/engine/language-host/pulumi-language-nodejs",
    ],
    next: "shellcheck FILE",
  },
];

/** Runs every check and shows the output of those that fail. */
export function runChecks(): { passed: number; failed: number } {
  let failed = 0;
  for (const { name, command, args, next } of checks) {
    const begun = Date.now();
    const result = spawnSync(command, args, { cwd: root, encoding: "utf8" });
    const seconds = ((Date.now() - begun) / 1000).toFixed(1);
    if (result.status === 0) {
      console.log(`ok      ${name} (${seconds} s)`);
      continue;
    }
    failed += 1;
    console.log(`not ok  ${name} (${seconds} s); again with: ${next}`);
    console.log(
      `${result.stdout ?? ""}${result.stderr ?? ""}${result.error?.message ?? ""}`.trimEnd(),
    );
  }
  return { passed: checks.length - failed, failed };
}

if (import.meta.main) {
  const { passed, failed } = runChecks();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
