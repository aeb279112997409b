import { z } from "zod";
import { CtmError, parseJson } from "#system";
import type { Workspace } from "./environment.ts";
import { runPulumi } from "./pulumi.ts";

const previewSchema = z.looseObject({
  steps: z
    .array(
      z.looseObject({
        op: z.string(),
        urn: z.string(),
        oldState: z.looseObject({ protect: z.boolean().optional() }).nullish(),
        diffReasons: z.array(z.string()).nullish(),
        detailedDiff: z.record(z.string(), z.unknown()).nullish(),
      }),
    )
    .nullish(),
  diagnostics: z
    .array(z.looseObject({ message: z.string().optional(), severity: z.string().optional() }))
    .nullish(),
});

/** One thing that an `up` would do. */
export interface Step {
  /** Pulumi's word: create, update, replace, delete. */
  operation: string;
  urn: string;
  /** Its name in the program. */
  name: string;
  /** Whether it holds data that its replacement or deletion would lose. */
  isProtected: boolean;
  /** Property paths that differ. */
  properties: string[];
}

/** Steps of Pulumi's plan that change nothing, or are a part of one that is listed already. */
const silent = new Set(["same", "refresh", "read", "create-replacement", "delete-replaced"]);

/**
 * What an `up` would do now, after looking at what really exists.
 *
 * @throws CtmError `preview-failed`, with what the program or a provider said
 */
export async function previewSteps(workspace: Workspace): Promise<Step[]> {
  const { code, stdout, stderr } = await runPulumi(
    workspace,
    ["preview", "--json", "--refresh", "--suppress-progress"],
    { acceptFailure: true },
  );
  const parsed = previewSchema.safeParse(parseJson(stdout));
  if (code !== 0 || !parsed.success) {
    throw new CtmError(
      "preview-failed",
      reasonOf(parsed.success ? parsed.data : {}, stderr, stdout),
    );
  }
  return (parsed.data.steps ?? [])
    .filter(({ op }) => !silent.has(op))
    .map((step) => ({
      operation: step.op,
      urn: step.urn,
      name: step.urn.split("::").at(-1) ?? step.urn,
      isProtected: step.oldState?.protect === true,
      properties: Object.keys(step.detailedDiff ?? {}),
    }));
}

function reasonOf(
  preview: Pick<z.infer<typeof previewSchema>, "diagnostics">,
  stderr: string,
  stdout: string,
): string {
  const errors = (preview.diagnostics ?? [])
    .filter(({ severity }) => severity === "error")
    .map(({ message }) => clean(message ?? ""))
    .filter((message) => message !== "" && message !== "preview failed");
  if (errors.length > 0) return [...new Set(errors)].join("\n");
  return clean(stderr.trim() === "" ? stdout : stderr);
}

/** Pulumi marks colours as `<{%fg 1%}>` in its JSON. */
function clean(text: string): string {
  return text
    .replaceAll(/<\{%[^%]*%\}>/g, "")
    .replace(/^error: /, "")
    .trim();
}
