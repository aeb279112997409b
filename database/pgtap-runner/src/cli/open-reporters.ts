import { createWriteStream } from "node:fs";
import { RunnerError } from "../errors.ts";
import { githubReporter } from "../report/github.ts";
import { jsonReporter } from "../report/json.ts";
import { junitReporter } from "../report/junit.ts";
import { wantsColour } from "../report/paint.ts";
import type { Reporter } from "../report/reporter.ts";
import { specReporter } from "../report/spec.ts";
import { tapReporter } from "../report/tap.ts";
import { count, wrongUsage } from "./options.ts";

/** Options of the command line that shape the report. */
interface ReporterOptions {
  reporter?: string[] | undefined;
  json?: boolean | undefined;
  slowest?: string | undefined;
  color?: boolean | undefined;
  "no-color"?: boolean | undefined;
}

/**
 * The reporters that were asked for, and what to await once they have been told everything.
 *
 * @throws RunnerError `wrong-usage`
 */
export function openReporters(values: ReporterOptions): {
  reporters: Reporter[];
  flush: () => Promise<void>;
} {
  const inActions = process.env["GITHUB_ACTIONS"] === "true";
  const wanted = [...(values.reporter ?? [])];
  if (values.json === true) wanted.push("json");
  if (wanted.length === 0) wanted.push("spec", ...(inActions ? ["github"] : []));
  const closing: (() => Promise<void>)[] = [];
  const documents = wanted.filter((name) => /^(json|junit|tap)$/.test(name));
  const onStdout = wanted.filter((name) => !name.includes("="));
  if (documents.length > 0 && onStdout.length > 1) {
    throw wrongUsage(`reporters ${onStdout.join(" and ")} cannot share standard output`);
  }
  const slowest = count("slowest", values.slowest, 0) ?? 3;
  const reporters = wanted.map((text) => {
    const [name = "", path] = text.split(/=(.*)/s, 2);
    let write = (part: string): void => void process.stdout.write(part);
    let colour = path === undefined && wantsColour(values);
    if (path !== undefined) {
      const stream = createWriteStream(path);
      const failed = new Promise<never>((_, reject) => {
        stream.on("error", (error) =>
          reject(new RunnerError("report-failed", `${path}: ${error.message}`, { cause: error })),
        );
      });
      failed.catch(() => undefined);
      write = (part) => void stream.write(part);
      colour = false;
      closing.push(() =>
        Promise.race([failed, new Promise<void>((resolve) => stream.end(() => resolve()))]),
      );
    }
    return makeReporter(name, write, colour, slowest);
  });
  return {
    reporters,
    flush: async () => {
      for (const close of closing) await close();
    },
  };
}

function makeReporter(
  name: string,
  write: (text: string) => void,
  colour: boolean,
  slowest: number,
): Reporter {
  switch (name) {
    case "spec":
      return specReporter({ write, colour, slowest });
    case "tap":
      return tapReporter(write);
    case "junit":
      return junitReporter(write);
    case "github":
      return githubReporter(write);
    case "json":
      return jsonReporter(write);
    default:
      throw wrongUsage(`there is no reporter "${name}": spec, tap, junit, github, json`);
  }
}
