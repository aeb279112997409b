import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** An attack as somebody else wrote it down. */
export interface Attack {
  payload: string;
  /** The file that it is from. */
  source: string;
  kind: "sql" | "injection" | "traversal" | "path";
  /** The rules were tuned on one half; the other was looked at when they were frozen. */
  half: "tuned" | "held out";
}

const sqlmap = "/usr/share/sqlmap/data/xml";
const wfuzz = "/usr/share/wfuzz/wordlist";
const coreRules = "/usr/share/modsecurity-crs/rules";

/** Whether the Debian packages with the payload lists are installed (test/packages.ts). */
export const hasAttackLists = [sqlmap, wfuzz, coreRules].every((folder) => existsSync(folder));

/**
 * The payloads of Debian's sqlmap, wfuzz and modsecurity-crs packages. Left out are lines that
 * nobody can tell from ordinary text: one or two characters, words and numbers alone.
 */
export async function readAttacks(): Promise<Attack[]> {
  const all = [
    ...(await sqlmapPayloads()).map(attack("sql", "sqlmap")),
    ...(await lines(wfuzz, "Injections/SQL.txt")).map(attack("sql", "wfuzz SQL.txt")),
    ...(await lines(wfuzz, "vulns/sql_inj.txt")).map(attack("sql", "wfuzz sql_inj.txt")),
    ...(await lines(wfuzz, "Injections/XSS.txt")).map(attack("injection", "wfuzz XSS.txt")),
    ...(await lines(wfuzz, "Injections/XML.txt")).map(attack("injection", "wfuzz XML.txt")),
    ...(await lines(wfuzz, "Injections/All_attack.txt")).map(
      attack("injection", "wfuzz All_attack.txt"),
    ),
    ...(await lines(wfuzz, "Injections/Traversal.txt")).map(
      attack("traversal", "wfuzz Traversal.txt"),
    ),
    ...(await lines(wfuzz, "vulns/dirTraversal.txt"))
      .map((line) => line.replaceAll("{FILE}", "etc/passwd"))
      .map(attack("traversal", "wfuzz dirTraversal.txt")),
    ...(await lines(wfuzz, "vulns/cgis.txt")).map(attack("path", "wfuzz cgis.txt")),
    ...(await lines(coreRules, "lfi-os-files.data")).map(attack("path", "crs lfi-os-files")),
    ...(await lines(coreRules, "restricted-files.data")).map(
      attack("path", "crs restricted-files"),
    ),
    ...(await lines(coreRules, "scanners-urls.data")).map(attack("path", "crs scanners-urls")),
    ...(await commentExamples()).map(attack("sql", "crs 942 comments")),
  ];
  const seen = new Set<string>();
  return all.filter(({ payload, kind }) => {
    if (seen.has(payload) || (kind !== "path" && !isTellable(payload))) return false;
    seen.add(payload);
    return true;
  });
}

function attack(kind: Attack["kind"], source: string): (payload: string) => Attack {
  return (payload) => ({
    payload,
    source,
    kind,
    half: (digest(payload)[0] ?? 0) % 2 === 0 ? "tuned" : "held out",
  });
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

async function lines(folder: string, file: string): Promise<string[]> {
  const text = await readFile(join(folder, file), "latin1");
  return text
    .split("\n")
    .map((line) => line.replace(/\r$/, ""))
    .filter((line) => line.trim() !== "" && !line.startsWith("# "));
}

/** Whether a payload is more than a probe with one or two signs, a word or a number. */
function isTellable(payload: string): boolean {
  const decoded = payload
    .replaceAll(/%[0-9a-f]{2}/gi, (code) => String.fromCharCode(Number.parseInt(code.slice(1), 16)))
    .trim();
  return decoded.length > 2 && !/^[\w\s.+-]*$/.test(decoded);
}

/** The examples that the SQL injection rules give in their comments. */
async function commentExamples(): Promise<string[]> {
  const text = await readFile(join(coreRules, "REQUEST-942-APPLICATION-ATTACK-SQLI.conf"), "utf8");
  return [...text.matchAll(/^# (.*(?:' |' or|union|\/\*).*)$/gim)]
    .map(([, line = ""]) => line)
    .filter((line) => /^(['‘]|\d+['/.]|1=|admin)/.test(line));
}

/** What sqlmap would send: each test within boundaries that it may stand in. */
async function sqlmapPayloads(): Promise<string[]> {
  const boundaries = blocks(await readFile(join(sqlmap, "boundaries.xml"), "utf8"), "boundary").map(
    (block) => ({
      clauses: listIn(block, "clause"),
      wheres: listIn(block, "where"),
      prefix: textIn(block, "prefix"),
      suffix: textIn(block, "suffix"),
    }),
  );
  const files = [
    "boolean_blind",
    "error_based",
    "inline_query",
    "stacked_queries",
    "time_blind",
    "union_query",
  ];
  const texts = await Promise.all(
    files.map((file) => readFile(join(sqlmap, "payloads", `${file}.xml`), "utf8")),
  );
  return texts
    .flatMap((text) => blocks(text, "test"))
    .flatMap((test) => {
      const clauses = listIn(test, "clause");
      const wheres = listIn(test, "where");
      const body = textIn(test, "payload") || unionOf(test);
      const comment = textIn(test, "comment");
      const fitting = boundaries.filter(
        (boundary) =>
          clauses.some(
            (one) =>
              one === "0" || boundary.clauses.includes(one) || boundary.clauses.includes("0"),
          ) && wheres.some((one) => boundary.wheres.includes(one)),
      );
      // Three boundaries a test: which, is chance, but the same in every run.
      const chosen = fitting
        .map((boundary, index) => ({ boundary, order: digest(`${body}${index}`).readUInt32BE(0) }))
        .toSorted((one, other) => one.order - other.order)
        .slice(0, 3);
      return chosen.map(({ boundary }, index) => {
        const original = wheres.includes("1") ? (index === 0 ? "1" : "review") : "-4417";
        const suffix = comment === "" ? boundary.suffix : comment;
        return filled(`${original}${boundary.prefix} ${body} ${suffix}`, body);
      });
    });
}

function unionOf(test: string): string {
  const columns = Number(/\d+/.exec(textIn(test, "columns"))?.[0] ?? "3");
  const value = textIn(test, "char").replace("[CHAR]", "NULL") || "NULL";
  return `UNION ALL SELECT ${Array.from({ length: Math.max(columns, 1) }, () => value).join(",")}`;
}

function filled(payload: string, seed: string): string {
  const number = (offset: number): string =>
    String(1000 + (digest(`${seed}${offset}`).readUInt16BE(0) % 9000));
  return payload
    .replaceAll(/\[RANDNUM(\d?)\]/g, (_, index: string) => number(Number(index)))
    .replaceAll(/\[RANDSTR(\d?)\]/g, (_, index: string) => `xK${number(Number(index) + 20)}q`)
    .replaceAll("[SLEEPTIME]", "5")
    .replaceAll("[DELIMITER_START]", "qvbxq")
    .replaceAll("[DELIMITER_STOP]", "qzkpq")
    .replaceAll("[ORIGVALUE]", "1")
    .replaceAll("[GENERIC_SQL_COMMENT]", "-- wXyZ")
    .replaceAll("[CHAR]", "NULL")
    .replaceAll("[HASH_REPLACE]", "#")
    .replaceAll("[SPACE_REPLACE]", " ")
    .trimEnd();
}

function blocks(xml: string, tag: string): string[] {
  return [
    ...xml.replaceAll(/<!--[^]*?-->/g, "").matchAll(new RegExp(`<${tag}>([^]*?)</${tag}>`, "g")),
  ].map(([, block = ""]) => block);
}

function textIn(block: string, tag: string): string {
  const [, text = ""] = new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(block) ?? [];
  const entities: Readonly<Record<string, string>> = {
    lt: "<",
    gt: ">",
    amp: "&",
    quot: '"',
    apos: "'",
  };
  return text.replaceAll(/&(\w+);/g, (whole, name: string) => entities[name] ?? whole);
}

function listIn(block: string, tag: string): string[] {
  return textIn(block, tag)
    .split(",")
    .flatMap((part) => {
      const [first = "", last] = part.trim().split("-");
      if (last === undefined) return [first];
      return Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) =>
        String(Number(first) + index),
      );
    });
}
