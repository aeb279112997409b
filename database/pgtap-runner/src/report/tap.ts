import type { Assertion } from "../results.ts";
import { explainOutput, explainProblem } from "./format.ts";
import type { Reporter } from "./reporter.ts";

/** TAP version 14: every file is a test, its assertions are its subtest. */
export function tapReporter(write: (text: string) => void): Reporter {
  // Files overlap, their output must not: the lines of each wait here for its end.
  const open = new Map<string, string[]>();
  let count = 0;
  return {
    onStart: (plan) => write(`TAP version 14\n1..${plan.files.length}\n`),
    onFileStart: (path) => open.set(path, []),
    onAssertion: (path, assertion) => open.get(path)?.push(...assertionLines(assertion)),
    onFileEnd: (result) => {
      count += 1;
      const lines = open.get(result.path) ?? [];
      open.delete(result.path);
      if (lines.length > 0) {
        write(`# Subtest: ${result.path}\n`);
        const tests = result.counts;
        const ran = tests.passed + tests.failed + tests.skipped + tests.todo;
        for (const line of [...lines, `1..${ran}`]) write(`    ${line}\n`);
      }
      const ok = result.status === "passed" || result.status === "skipped";
      const directive = result.status === "skipped" ? ` # SKIP ${result.reason ?? ""}` : "";
      write(`${ok ? "ok" : "not ok"} ${count} - ${escape(result.path)}${directive}\n`);
      if (result.status === "not-run") write(`# did not run: ${result.reason ?? ""}\n`);
      for (const problem of result.problems) {
        for (const line of explainProblem(problem, "")) write(`# ${line.text}\n`);
      }
      for (const line of explainOutput(result, "")) write(`# ${line.text}\n`);
    },
    onEnd: (result) => {
      for (const text of [...result.warnings, ...result.problems]) write(`# ${text}\n`);
      if (result.interrupted !== undefined) write(`Bail out! ${result.interrupted}\n`);
    },
  };
}

function assertionLines(assertion: Assertion): string[] {
  const { directive } = assertion;
  const suffix =
    directive === undefined ? "" : ` # ${directive.kind.toUpperCase()} ${directive.reason}`;
  const verdict = assertion.passed ? "ok" : "not ok";
  const name = assertion.description === "" ? "" : ` - ${escape(assertion.description)}`;
  const lines = [`${verdict} ${assertion.number}${name}${suffix}`];
  if (!assertion.passed) {
    const { location } = assertion;
    if (location !== undefined) lines.push(`# at ${location.file}:${location.line}`);
    lines.push(...assertion.diagnostics.map((text) => `# ${text}`));
  }
  return lines;
}

function escape(text: string): string {
  return text.replace(/[\\#]/g, "\\$&");
}
