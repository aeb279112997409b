import type { ReportLine } from "../report/format.ts";
import type { Actor, Command } from "./declaration.ts";
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

/** Objects whose tables read the same: partitions of a log, functions of a family. */
interface Group {
  names: string[];
  object: AccessObject;
  /** Actors who get anything, or something that they should not. */
  actors: string[];
  /** Actors who are denied everything, as declared. */
  denied: string[];
}

function groupAlike(result: AccessResult): Group[] {
  const groups = new Map<string, Group>();
  for (const object of result.objects) {
    const look = JSON.stringify([
      object.kind,
      object.cells.map((cell) => [cell.actor, cell.command, settled(cell), cell.agrees]),
    ]);
    // What a pattern covers comes and goes (the partitions of this month): the pattern stays.
    const { declaredAs } = object;
    const name = declaredAs?.endsWith("*") === true ? declaredAs : object.name;
    const group = groups.get(look);
    if (group !== undefined) {
      if (!group.names.includes(name)) group.names.push(name);
      continue;
    }
    const isDenied = (actor: string): boolean =>
      object.cells.every(
        (cell) => cell.actor !== actor || (cell.agrees && settled(cell) === "denied"),
      );
    const all = Object.keys(result.actors);
    const denied = all.filter(isDenied);
    const actors = all.filter((actor) => !denied.includes(actor));
    groups.set(look, { names: [name], object, actors, denied });
  }
  return [...groups.values()];
}

/** What agrees is shown as declared: "all" of no rows was found as "none". */
function settled(cell: AccessCell): string {
  return formatOutcome(cell.agrees ? cell.expected : cell.found);
}

/** The matrix for documentation. It depends on nothing but the outcome: no times, no order of chance. */
export function accessMarkdown(result: AccessResult): string {
  const parts = [`# ${result.title}`, ""];
  parts.push(
    ...markdownTable([
      ["actor", "role", "settings"],
      ...Object.entries(result.actors).map(([name, actor]) =>
        [name, actor.role, formatSettings(actor)].map(escapeMarkdown),
      ),
    ]),
  );
  for (const { names, object, actors, denied } of groupAlike(result)) {
    parts.push("", `## ${names.map((name) => `\`${name}\``).join(", ")}`, "");
    parts.push(`${names.length === 1 ? "A" : "Each a"} ${object.kind}.`);
    if (actors.length > 0) {
      const rows = actors.map((actor) => [
        escapeMarkdown(actor),
        ...object.commands.map((command) => markdownCell(findCell(object, actor, command))),
      ]);
      parts.push("", ...markdownTable([["actor", ...object.commands], ...rows]));
    }
    if (denied.length > 0) parts.push("", `Denied everything: ${denied.join(", ")}.`);
  }
  if (result.problems.length > 0) {
    parts.push("", "## Not as declared", "");
    parts.push(...result.problems.map((problem) => `- ${escapeMarkdown(problem)}`));
  }
  return `${parts.join("\n")}\n`;
}

function formatSettings(actor: Actor): string {
  return Object.entries(actor.settings ?? {})
    .map(([key, value]) => `${key} = ${value}`)
    .join(", ");
}

function markdownCell(cell: AccessCell | undefined): string {
  if (cell === undefined) return "";
  const found = escapeMarkdown(settled(cell));
  return cell.agrees ? found : `**${found}**, not ${escapeMarkdown(formatOutcome(cell.expected))}`;
}

/** With columns as wide as formatters make them, so that they leave the file alone. */
function markdownTable(rows: readonly (readonly string[])[]): string[] {
  const [head = [], ...body] = rows;
  const widths = head.map((_, column) =>
    Math.max(3, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, column) => (cells[column] ?? "").padEnd(width)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...body.map(line)];
}

function escapeMarkdown(text: string): string {
  return text.replace(/[|\\`*<]/g, "\\$&").replace(/\n/g, " ");
}

/** The matrix as one page that needs nothing else. */
export function accessHtml(result: AccessResult): string {
  const tables = groupAlike(result).map(({ names, object, actors: named, denied }) => {
    const head = object.commands.map((command) => `<th scope="col">${command}</th>`).join("");
    const body = named.map((actor) => {
      const cells = object.commands.map((command) => htmlCell(findCell(object, actor, command)));
      return `<tr><th scope="row">${escapeHtml(actor)}</th>${cells.join("")}</tr>`;
    });
    return `<section>
<h2>${names.map(escapeHtml).join(", ")} <small>${object.kind}</small></h2>
${named.length === 0 ? "" : `<table><thead><tr><td></td>${head}</tr></thead>\n<tbody>${body.join("\n")}</tbody></table>`}
${denied.length === 0 ? "" : `<p class="denied">Denied everything: ${denied.map(escapeHtml).join(", ")}.</p>`}
</section>`;
  });
  const actors = Object.entries(result.actors).map(([name, actor]) => {
    const cells = [actor.role, formatSettings(actor)].map((text) => `<td>${escapeHtml(text)}</td>`);
    return `<tr><th scope="row">${escapeHtml(name)}</th>${cells.join("")}</tr>`;
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
  const found = escapeHtml(settled(cell));
  const title = cell.message === undefined ? "" : ` title="${escapeHtml(cell.message)}"`;
  if (!cell.agrees) {
    const expected = escapeHtml(formatOutcome(cell.expected));
    return `<td class="wrong"${title}>${found} <del>${expected}</del></td>`;
  }
  const look =
    found === "denied" || found === "none"
      ? found
      : found.startsWith("error")
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
