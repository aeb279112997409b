import type { ReportLine } from "../report/format.ts";
import type { Command } from "./declaration.ts";
import { type AccessCell, type AccessObject, type AccessResult, formatOutcome } from "./matrix.ts";

/** The matrix for a terminal: a table for each object, what is wrong marked and said below. */
export function accessLines(result: AccessResult, options: { onlyWrong: boolean }): ReportLine[] {
  const lines: ReportLine[] = [];
  for (const object of result.objects) {
    const wrong = object.cells.some((cell) => !cell.agrees) || object.declaredAs === undefined;
    if (options.onlyWrong && !wrong) continue;
    lines.push({ text: `${object.name} (${object.kind})`, tone: wrong ? "bad" : "strong" });
    lines.push(...objectTable(result, object));
  }
  for (const problem of result.problems) lines.push({ text: problem, tone: "bad" });
  const { cells, wrong, attempts } = result.counts;
  const actors = Object.keys(result.actors).length;
  lines.push({
    text: `${result.passed ? "passed" : "FAILED"}: ${actors} actors, ${result.objects.length} objects, ${cells} cells, ${wrong} wrong, ${attempts} statements tried (${Math.round(result.durationMs)} ms)`,
    tone: result.passed ? "good" : "bad",
  });
  return lines;
}

function objectTable(result: AccessResult, object: AccessObject): ReportLine[] {
  const rows = [
    ["", ...object.commands],
    ...Object.keys(result.actors).map((actor) => [
      actor,
      ...object.commands.map((command) => cellText(findCell(object, actor, command))),
    ]),
  ];
  const widths = rows[0]?.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  return rows.map((row, index) => ({
    text: `  ${row.map((cell, column) => cell.padEnd(widths?.[column] ?? 0)).join("  ")}`.trimEnd(),
    tone: index === 0 ? "faint" : row.some((cell) => cell.startsWith("!")) ? "bad" : "plain",
  }));
}

function cellText(cell: AccessCell | undefined): string {
  if (cell === undefined) return "";
  const found = formatOutcome(cell.found);
  return cell.agrees ? found : `! ${found}, not ${formatOutcome(cell.expected)}`;
}

function findCell(object: AccessObject, actor: string, command: Command): AccessCell | undefined {
  return object.cells.find((cell) => cell.actor === actor && cell.command === command);
}

/** Objects whose tables would read the same: partitions of a log, functions of a family. */
interface Group {
  names: string[];
  object: AccessObject;
}

function groupAlike(objects: readonly AccessObject[]): Group[] {
  const groups = new Map<string, Group>();
  for (const object of objects) {
    const look = JSON.stringify([object.kind, object.declaredAs, object.cells]);
    const group = groups.get(look);
    if (group === undefined) groups.set(look, { names: [object.name], object });
    else group.names.push(object.name);
  }
  return [...groups.values()];
}

/** The matrix for documentation. It depends on nothing but the outcome: no times, no order of chance. */
export function accessMarkdown(result: AccessResult): string {
  const parts = [`# ${result.title}`, ""];
  parts.push("| actor | role | settings |", "| --- | --- | --- |");
  for (const [name, actor] of Object.entries(result.actors)) {
    const settings = Object.entries(actor.settings ?? {}).map(
      ([key, value]) => `${key} = ${value}`,
    );
    parts.push(`| ${[name, actor.role, settings.join(", ")].map(escapeMarkdown).join(" | ")} |`);
  }
  for (const { names, object } of groupAlike(result.objects)) {
    parts.push("", `## ${names.map((name) => `\`${name}\``).join(", ")}`, "");
    parts.push(`A ${object.kind}.`, "");
    parts.push(`| actor | ${object.commands.join(" | ")} |`);
    parts.push(`| --- |${" --- |".repeat(object.commands.length)}`);
    for (const actor of Object.keys(result.actors)) {
      const cells = object.commands.map((command) => {
        const cell = findCell(object, actor, command);
        if (cell === undefined) return "";
        const found = escapeMarkdown(formatOutcome(cell.found));
        return cell.agrees
          ? found
          : `**${found}**, not ${escapeMarkdown(formatOutcome(cell.expected))}`;
      });
      parts.push(`| ${[escapeMarkdown(actor), ...cells].join(" | ")} |`);
    }
  }
  if (result.problems.length > 0) {
    parts.push("", "## Not as declared", "");
    parts.push(...result.problems.map((problem) => `- ${escapeMarkdown(problem)}`));
  }
  return `${parts.join("\n")}\n`;
}

function escapeMarkdown(text: string): string {
  return text.replace(/[|\\`*_<>]/g, "\\$&").replace(/\n/g, " ");
}

/** The matrix as one page that needs nothing else. */
export function accessHtml(result: AccessResult): string {
  const tables = groupAlike(result.objects).map(({ names, object }) => {
    const head = object.commands.map((command) => `<th scope="col">${command}</th>`).join("");
    const body = Object.keys(result.actors).map((actor) => {
      const cells = object.commands.map((command) => htmlCell(findCell(object, actor, command)));
      return `<tr><th scope="row">${escapeHtml(actor)}</th>${cells.join("")}</tr>`;
    });
    return `<section>
<h2>${names.map(escapeHtml).join(", ")} <small>${object.kind}</small></h2>
<table><thead><tr><td></td>${head}</tr></thead>
<tbody>${body.join("\n")}</tbody></table>
</section>`;
  });
  const actors = Object.entries(result.actors).map(([name, actor]) => {
    const settings = Object.entries(actor.settings ?? {}).map(
      ([key, value]) => `${key} = ${value}`,
    );
    return `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(actor.role)}</td><td>${escapeHtml(settings.join(", "))}</td></tr>`;
  });
  const problems = result.problems.map((problem) => `<li>${escapeHtml(problem)}</li>`);
  const verdict = result.passed
    ? `<p class="good">Everything is as declared.</p>`
    : `<p class="bad">Not as declared:</p><ul>${problems.join("")}</ul>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(result.title)}</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #1c1c1c; }
h2 { font-size: 1rem; margin: 2rem 0 .4rem; }
h2 small { color: #666; font-weight: normal; }
table { border-collapse: collapse; }
th, td { border: 1px solid #d0d0d0; padding: .2rem .6rem; text-align: left; vertical-align: top; }
thead th { background: #f3f3f3; }
.denied { color: #888; }
.none { color: #555; background: #fafafa; }
.reached { background: #e7f5e9; }
.error { background: #fff4d6; }
.wrong { background: #fbd9d9; outline: 2px solid #c62828; }
.wrong del { color: #7a1f1f; }
.bad { color: #c62828; font-weight: bold; }
.good { color: #2e7d32; font-weight: bold; }
</style>
</head>
<body>
<h1>${escapeHtml(result.title)}</h1>
${verdict}
<table><thead><tr><th>actor</th><th>role</th><th>settings</th></tr></thead>
<tbody>${actors.join("\n")}</tbody></table>
${tables.join("\n")}
</body>
</html>
`;
}

function htmlCell(cell: AccessCell | undefined): string {
  if (cell === undefined) return "<td></td>";
  const found = escapeHtml(formatOutcome(cell.found));
  const title = cell.message === undefined ? "" : ` title="${escapeHtml(cell.message)}"`;
  if (!cell.agrees) {
    const expected = escapeHtml(formatOutcome(cell.expected));
    return `<td class="wrong"${title}>${found} <del>${expected}</del></td>`;
  }
  const look =
    typeof cell.found !== "string"
      ? "reached"
      : cell.found === "denied" || cell.found === "none"
        ? cell.found
        : cell.found.startsWith("error")
          ? "error"
          : "reached";
  return `<td class="${look}"${title}>${found}</td>`;
}

function escapeHtml(text: string): string {
  return text
    .replace(/&/g, "&amp;")
    .replace(/</g, "&lt;")
    .replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;");
}
