import type { FileResult, Location } from "../results.ts";
import { explainDifference, explainProblem } from "./format.ts";
import type { Reporter } from "./reporter.ts";

/** Annotations that GitHub shows at the lines of a pull request. */
export function githubReporter(write: (text: string) => void): Reporter {
  return {
    onFileEnd: (result) => {
      for (const annotation of annotations(result)) write(`${annotation}\n`);
    },
    onEnd: (result) => {
      for (const text of result.problems)
        write(`::error title=pgtap-runner::${escapeData(text)}\n`);
    },
  };
}

function annotations(result: FileResult): string[] {
  if (result.status === "not-run") {
    return [annotate({ file: result.path }, "did not run", result.reason ?? "")];
  }
  return [
    ...result.failures.map((failure) => {
      const difference = explainDifference(failure, "").map((line) => line.text);
      const nested = failure.subtests.map((subtest) => `not ok - ${subtest.description}`);
      const text = [...difference, ...nested].join("\n");
      return annotate(
        failure.location ?? { file: result.path },
        `not ok ${failure.number} - ${failure.description}`,
        text === "" ? "failed" : text,
      );
    }),
    ...result.problems.map((problem) => {
      const text = explainProblem(problem, "")
        .map((line) => line.text)
        .join("\n");
      return annotate(problem.location ?? { file: result.path }, problem.code, text);
    }),
  ];
}

function annotate(
  place: Partial<Location> & { file: string },
  title: string,
  text: string,
): string {
  const line = place.line === undefined ? "" : `,line=${place.line}`;
  const properties = `file=${escapeProperty(place.file)}${line},title=${escapeProperty(title)}`;
  return `::error ${properties}::${escapeData(text)}`;
}

function escapeData(text: string): string {
  return text.replace(/%/g, "%25").replace(/\r/g, "%0D").replace(/\n/g, "%0A");
}

function escapeProperty(text: string): string {
  return escapeData(text).replace(/:/g, "%3A").replace(/,/g, "%2C");
}
