import type { FindingDocument } from "./document.ts";

/**
 * Workflow commands by which GitHub shows each finding at its line of a pull request:
 * https://docs.github.com/actions/reference/workflow-commands-for-github-actions
 */
export function githubAnnotations(findings: readonly FindingDocument[]): string {
  return findings
    .map(({ check, file, line, message, detail, next }) => {
      const properties = [
        ...(file === null ? [] : [`file=${property(file)}`]),
        ...(line === null ? [] : [`line=${line}`]),
        `title=${property(`ctm check: ${check}`)}`,
      ].join(",");
      const text = [
        message,
        ...(detail === null ? [] : [detail]),
        ...(next === null ? [] : [`next: ${next}`]),
      ];
      return `::error ${properties}::${data(text.join("\n"))}`;
    })
    .join("\n");
}

function data(text: string): string {
  return text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
}

function property(text: string): string {
  return data(text).replaceAll(":", "%3A").replaceAll(",", "%2C");
}
