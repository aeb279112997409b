import {
  explainAssertion,
  explainOutput,
  explainProblem,
  type FileResult,
  type Location,
  type RunResult,
} from "../pgtap-runner/src/index.ts";
import { relativeToCheckout, type CheckFinding } from "./finding.ts";

/** Why the tests are red: a finding for each failed assertion, and each other reason. */
export function pgtapFindings(result: RunResult): CheckFinding[] {
  const findings = result.files.flatMap(fileFindings);
  for (const message of result.problems) findings.push(finding({ message }));
  return findings;
}

function fileFindings(file: FileResult): CheckFinding[] {
  const findings: CheckFinding[] = [];
  for (const failure of file.failures) {
    const detail = below(explainAssertion({ ...failure, location: undefined }, ""));
    findings.push(
      finding({
        ...placeIn(file, failure.location),
        message: `not ok ${failure.number} - ${failure.description}`,
        detail: detail.join("\n"),
      }),
    );
  }
  for (const problem of file.problems) {
    const { location: _location, next: _next, ...rest } = problem;
    const detail = below(explainProblem(rest, ""));
    findings.push(
      finding({
        ...placeIn(file, problem.location),
        message: `${problem.code}: ${problem.message}`,
        detail: detail.join("\n"),
        next: problem.next ?? null,
      }),
    );
  }
  if (file.status === "not-run") {
    findings.push(
      finding({ ...placeIn(file), message: `it did not run: ${file.reason ?? "unknown"}` }),
    );
  }
  // What a file printed belongs to all that is wrong in it, and is shown once.
  const last = findings.at(-1);
  if (last !== undefined && file.output.length > 0) {
    const output = explainOutput(file, "").map(({ text }) => text.trimEnd());
    last.detail = [...(last.detail === null ? [] : [last.detail]), ...output].join("\n");
  }
  return findings;
}

function placeIn(file: FileResult, location?: Location): Pick<CheckFinding, "file" | "line"> {
  return {
    file: relativeToCheckout(location?.file ?? file.path),
    line: location?.line ?? null,
  };
}

function finding(given: { message: string } & Partial<CheckFinding>): CheckFinding {
  const { detail, ...rest } = given;
  return {
    file: null,
    line: null,
    next: null,
    ...rest,
    check: "pgtap",
    detail: detail === undefined || detail === "" ? null : (detail ?? null),
  };
}

/** What stands below the headline, without its indentation. */
function below(lines: readonly { text: string }[]): string[] {
  return lines.slice(1).map(({ text }) => text.replace(/^ {2}/, "").trimEnd());
}
