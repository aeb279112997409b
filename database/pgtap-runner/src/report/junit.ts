import type { Assertion, FileResult, Problem } from "../results.ts";
import { isFailure } from "../tap/tap-parser.ts";
import { explainAssertion, explainProblem, type ReportLine } from "./format.ts";
import type { Reporter } from "./reporter.ts";

/** JUnit's XML, as GitLab, Jenkins and others read it: a suite for each file. */
export function junitReporter(write: (text: string) => void): Reporter {
  const open = new Map<string, string[]>();
  return {
    onStart: () =>
      write(`<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="pgtap-runner">\n`),
    onFileStart: (path) => open.set(path, []),
    onAssertion: (path, assertion) => open.get(path)?.push(assertionCase(path, assertion)),
    onFileEnd: (result) => {
      const cases = open.get(result.path) ?? [];
      open.delete(result.path);
      cases.push(...result.problems.map((problem) => problemCase(result, problem)));
      if (result.status === "skipped") {
        cases.push(
          emptyCase(
            result.path,
            "skipped",
            `<skipped${attribute("message", result.reason ?? "")}/>`,
          ),
        );
      }
      if (result.status === "not-run") {
        cases.push(
          emptyCase(
            result.path,
            "did not run",
            `<error${attribute("message", result.reason ?? "")}/>`,
          ),
        );
      }
      const { counts } = result;
      const errors = result.problems.length + (result.status === "not-run" ? 1 : 0);
      const skipped = counts.skipped + counts.todo + (result.status === "skipped" ? 1 : 0);
      const attributes = [
        attribute("name", result.path),
        attribute("tests", String(cases.length)),
        attribute("failures", String(counts.failed)),
        attribute("errors", String(errors)),
        attribute("skipped", String(skipped)),
        attribute("time", (result.durationMs / 1000).toFixed(3)),
      ].join("");
      write(`  <testsuite${attributes}>\n${cases.join("")}`);
      if (result.output.length > 0) {
        const text = result.output.map((line) => line.text).join("\n");
        write(`    <system-out>${escape(text)}</system-out>\n`);
      }
      write("  </testsuite>\n");
    },
    onEnd: () => write("</testsuites>\n"),
  };
}

function assertionCase(path: string, assertion: Assertion): string {
  const name = `${assertion.number} - ${assertion.description}`;
  if (isFailure(assertion)) {
    const text = plain(explainAssertion(assertion, ""));
    const message = attribute("message", assertion.description);
    return emptyCase(
      path,
      name,
      `<failure${message}>${escape(text)}</failure>`,
      assertion.location?.line,
    );
  }
  if (assertion.directive === undefined) return emptyCase(path, name, "", assertion.location?.line);
  const reason = `${assertion.directive.kind}: ${assertion.directive.reason}`;
  return emptyCase(
    path,
    name,
    `<skipped${attribute("message", reason)}/>`,
    assertion.location?.line,
  );
}

function problemCase(result: FileResult, problem: Problem): string {
  const text = plain(explainProblem(problem, ""));
  const content = `<error${attribute("type", problem.code)}${attribute("message", problem.message)}>${escape(text)}</error>`;
  return emptyCase(result.path, problem.code, content, problem.location?.line);
}

function emptyCase(path: string, name: string, content: string, line?: number): string {
  const attributes = [
    attribute("name", name),
    attribute("classname", path),
    attribute("file", path),
    ...(line === undefined ? [] : [attribute("line", String(line))]),
  ].join("");
  return content === ""
    ? `    <testcase${attributes}/>\n`
    : `    <testcase${attributes}>${content}</testcase>\n`;
}

function plain(lines: readonly ReportLine[]): string {
  return lines.map((line) => line.text).join("\n");
}

function attribute(name: string, value: string): string {
  return ` ${name}="${escape(value).replace(/"/g, "&quot;").replace(/\n/g, "&#10;")}"`;
}

function escape(text: string): string {
  // XML has no way at all to write most control characters.
  // oxlint-disable-next-line no-control-regex
  const clean = text.replace(/[\u0000-\u0008\u000B\u000C\u000E-\u001F\uFFFE\uFFFF]/g, "\uFFFD");
  return clean.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}
