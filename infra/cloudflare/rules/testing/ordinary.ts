import { createHash } from "node:crypto";
import { existsSync, globSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { EdgeRequest } from "../model.ts";
import { exampleKey, requestOf } from "./requests.ts";

/** A request of a client that means no harm, and where its text is from. */
export interface Ordinary {
  source: string;
  request: EdgeRequest;
}

const root = fileURLToPath(new URL("../../../../", import.meta.url));
const fortunes = "/usr/share/games/fortunes";
const extensions = "/usr/share/postgresql/15/extension";
const userAgents = "/usr/share/sqlmap/data/txt/user-agents.txt";

/** Whether the Debian packages that the texts are from are installed (test/packages.ts). */
export const hasOrdinaryTexts = [fortunes, extensions, userAgents].every((one) => existsSync(one));

const fortuneNames = [
  "computers",
  "debian",
  "linux",
  "law",
  "work",
  "science",
  "wisdom",
  "literature",
];

/** Written by hand: what naive rules stumble over. */
const tricky = [
  "European Union report",
  "select a reviewer and drop me a note",
  "Union Select Committee: minutes of 1999",
  "Order by Friday -- or else",
  "Don't drop tables; update the catering list",
  "O'Brien's review, and O'Neill's",
  "Rock 'n' roll = here to stay",
  "1 and 2 are done, 3 or 4 = tomorrow",
  "where do we go from here?",
  "insert coin; delete old mail; create invoice",
  "AT&T contract: sign & return (50% off!)",
  "having 3 = good, having 4 = better",
  "Sleep (8 hours) before the release",
  "C# / F# interop; see #4711",
  "Q&A: what's new in v2.0 -- draft",
  'Fix null as "undefined" in a <select> or <script> tag',
  "Users can't log in with password '123'",
  "either ../docs or ./src/*.ts, not both",
  "grep -r 'TODO' . | wc -l",
  "if a = b and c = d then e",
];

/** Endless chance that is the same in every run. */
class Chance {
  #count = 0;

  below(limit: number): number {
    this.#count += 1;
    return createHash("sha256").update(String(this.#count)).digest().readUInt32BE(0) % limit;
  }

  of<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("there is nothing to choose from");
    return item;
  }
}

interface Text {
  source: string;
  text: string;
}

/**
 * A thousand ordinary requests: titles are lines of change logs, descriptions fortunes, manuals
 * with code, and SQL of PostgreSQL's extensions and of this repository; user agents are those of
 * real browsers and of clients of APIs.
 */
export async function ordinaryRequests(): Promise<Ordinary[]> {
  const chance = new Chance();
  const titles = await changes();
  const prose = await fortuneTexts(fortuneNames);
  const code = await codeTexts();
  const statements = await sqlTexts();
  const agents = await agentTexts();
  const headers = (): EdgeRequest["headers"] => headersOf(chance, agents);
  const list: Ordinary[] = [];
  const add = (source: string, changed: Partial<EdgeRequest>): void => {
    list.push({ source, request: requestOf({ headers: headers(), ...changed }) });
  };
  const post = (source: string, path: string, body: object, method = "POST"): void => {
    const json = { "content-type": "application/json" };
    const text = chance.below(2) === 0 ? JSON.stringify(body) : JSON.stringify(body, null, 2);
    const declared = { "content-length": String(Buffer.byteLength(text)) };
    add(source, { method, path, body: text, headers: { ...headers(), ...json, ...declared } });
  };
  const task = (title: Text, description: Text): void => {
    post(`${title.source}; ${description.source}`, "/api/database/tasks", {
      title: title.text.slice(0, 255),
      description: description.text,
      type: chance.of(["general", "bug", "feature", "refactoring"]),
      priority: chance.below(11),
      tags: [chance.of(title.text.split(" ")) || "tag"],
      requirements: [chance.of(titles).text],
      metadata: { note: chance.of(prose).text.slice(0, 200) },
    });
  };
  const byHand = tricky.map((text): Text => ({ source: "written by hand", text }));

  for (const title of byHand) {
    task(title, chance.of(prose));
    task(chance.of(titles), title);
    add(title.source, { query: searchOf(chance, title.text) });
  }
  for (let index = 0; index < 240; index += 1) {
    const { source, text } = chance.of(titles);
    add(source, { query: searchOf(chance, piece(chance, text)) });
  }
  for (let index = 0; index < 180; index += 1) task(chance.of(titles), chance.of(prose));
  for (let index = 0; index < 140; index += 1) task(chance.of(titles), chance.of(code));
  for (let index = 0; index < 140; index += 1) task(chance.of(titles), chance.of(statements));
  for (let index = 0; index < 80; index += 1) {
    const { source, text } = chance.of(prose);
    const body = { status: chance.of(["in_progress", "completed", "failed"]), notes: text };
    post(source, `/api/database/tasks/${uuidOf(chance)}/status`, body, "PATCH");
  }
  for (let index = 0; index < 60; index += 1) {
    const { source, text } = chance.of(statements);
    post(source, "/api/database/query", { sql: text.slice(0, 10_000) });
  }
  for (let index = 0; index < 60; index += 1) {
    add("the API's parameters", { query: filterOf(chance) });
  }
  while (list.length < 1000) {
    const path = chance.of(["/health", "/metrics", `/tasks/${uuidOf(chance)}`]);
    add("the API's endpoints", { path: `/api/database${path}` });
  }
  return list;
}

/**
 * Every text there is, not a thousand of them: as a search (its first line), and as a description;
 * and every browser. For measuring, as it takes a while.
 */
export async function everyOrdinaryRequest(): Promise<Ordinary[]> {
  const agents = await agentTexts();
  const prose = await fortuneTexts(readdirSync(fortunes).filter((name) => !name.includes(".")));
  const texts = [...prose, ...(await codeTexts()), ...(await sqlTexts()), ...(await changes())];
  const key = { "x-api-key": exampleKey };
  return [
    ...agents.map((agent): Ordinary => ({
      source: "browsers and programs",
      request: requestOf({ headers: { ...key, "user-agent": agent } }),
    })),
    ...[...prose, ...(await changes())].map(({ text }): Ordinary => {
      const line = (text.split("\n")[0] ?? "").slice(0, 200);
      return {
        source: "searches",
        request: requestOf({ query: String(new URLSearchParams({ search: line })) }),
      };
    }),
    ...texts.map(({ text }): Ordinary => ({
      source: "descriptions",
      request: requestOf({
        method: "POST",
        body: JSON.stringify({ title: text.slice(0, 80), description: text }),
      }),
    })),
  ];
}

function piece(chance: Chance, text: string): string {
  const words = text.split(/\s+/);
  const first = chance.below(words.length);
  return words.slice(first, first + 1 + chance.below(4)).join(" ");
}

function searchOf(chance: Chance, text: string): string {
  const search = text.slice(0, 200);
  const encoded = chance.below(2) === 0;
  return encoded ? `search=${encodeURIComponent(search)}` : String(new URLSearchParams({ search }));
}

function filterOf(chance: Chance): string {
  const filters = [
    `page=${1 + chance.below(9)}`,
    `limit=${1 + chance.below(100)}`,
    `status=${chance.of(["pending", "in_progress", "completed"])}`,
    `priority=${chance.below(11)}`,
    `assigned_to=${encodeURIComponent(chance.of(["o'neill", "ada.lovelace@example.com", "team+ops@example.com", "José"]))}`,
    "sort=queue",
  ];
  return filters.filter(() => chance.below(2) === 0).join("&");
}

function uuidOf(chance: Chance): string {
  const hex = createHash("sha256")
    .update(String(chance.below(2 ** 30)))
    .digest("hex");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20, 32),
  ].join("-");
}

/** What programs and browsers send along, with the key in either header. */
function headersOf(chance: Chance, agents: readonly string[]): Record<string, string> {
  const key: Record<string, string> =
    chance.below(2) === 0 ? { "x-api-key": exampleKey } : { authorization: `Bearer ${exampleKey}` };
  const agent = { "user-agent": chance.of(agents) };
  if (chance.below(2) === 0)
    return { ...key, ...agent, accept: "*/*", "accept-encoding": "gzip, deflate" };
  const token = Buffer.from(
    JSON.stringify({ iss: "https://example.cloudflareaccess.com", sub: chance.below(1e9) }),
  ).toString("base64url");
  return {
    ...key,
    ...agent,
    accept: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-language": "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7",
    "accept-encoding": "gzip, deflate, br, zstd",
    "sec-ch-ua": '"Chromium";v="131", "Not_A Brand";v="24", "Google Chrome";v="131"',
    "sec-ch-ua-platform": '"Linux"',
    "sec-fetch-mode": "navigate",
    "if-none-match": 'W/"5e-1a2b3c"',
    referer: "https://api.example.com/api/database/tasks?status=pending&search=European%20Union",
    cookie: `CF_Authorization=eyJhbGciOiJSUzI1NiJ9.${token}.c2ln; theme="dark"; _ga=GA1.2.1234567890.1700000000`,
    "x-request-id": `req-${chance.below(1e9)}`,
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  };
}

const read = (path: string): Promise<string> => readFile(path, "utf8");

/** Lines of the change logs of the packages that this project stands on. */
async function changes(): Promise<Text[]> {
  const paths = globSync("node_modules/{*,@*/*}/{CHANGELOG,HISTORY,History}.md", {
    cwd: root,
  }).toSorted();
  const texts = await Promise.all(
    paths.map(async (path) => {
      const lines = [...(await read(`${root}${path}`)).matchAll(/^\s*[-*] (.{12,200})$/gm)];
      return lines.map(([, line = ""]): Text => {
        const text = line
          .replaceAll(/\s*\(?\[[^\]]*\]\([^)]*\)\)?,?/g, "")
          .replaceAll(/\*\*/g, "")
          .trim();
        return { source: path, text };
      });
    }),
  );
  return texts.flat().filter(({ text }) => text.length > 8);
}

async function fortuneTexts(names: readonly string[]): Promise<Text[]> {
  const texts = await Promise.all(
    names
      .filter((name) => existsSync(`${fortunes}/${name}`))
      .map(async (name) =>
        (await read(`${fortunes}/${name}`))
          .split("\n%\n")
          .map((text): Text => ({ source: `fortunes ${name}`, text: text.trim() })),
      ),
  );
  return texts.flat().filter(({ text }) => text.length > 40);
}

/** Sections of manuals that hold code. */
async function codeTexts(): Promise<Text[]> {
  const paths = globSync("node_modules/{*,@*/*}/README.md", { cwd: root }).toSorted();
  const texts = await Promise.all(
    paths.map(async (path) =>
      (await read(`${root}${path}`))
        .split(/^#+ /m)
        .map((text): Text => ({ source: path, text: text.trim() })),
    ),
  );
  return texts.flat().filter(({ text }) => text.includes("```") && text.length < 8000);
}

/** Statements of PostgreSQL's extensions, and of this repository's migrations and tests. */
async function sqlTexts(): Promise<Text[]> {
  const paths = [
    ...globSync(`${extensions}/*.sql`),
    ...globSync(`${root}database/{migrations,repeatable,tests}/*.sql`),
  ].toSorted();
  const texts = await Promise.all(
    paths.map(async (path) =>
      (await read(path))
        .split(/;\n+/)
        .map((text): Text => ({ source: path.replace(root, ""), text: `${text.trim()};` })),
    ),
  );
  return texts.flat().filter(({ text }) => text.length > 60 && text.length < 6000);
}

async function agentTexts(): Promise<string[]> {
  const browsers = (await read(userAgents)).split("\n").filter((line) => /^\w/.test(line));
  const programs = [
    "node",
    "undici",
    "curl/8.5.0",
    "python-requests/2.31.0",
    "axios/1.7.2",
    "Go-http-client/2.0",
    "okhttp/4.12.0",
    "PostmanRuntime/7.36.3",
    "GitHub-Hookshot/044aadd",
    "ctm-agent/1.4 (+https://example.com/agent; linux x64) Node.js/22",
  ];
  // As many programs as browsers.
  return browsers.flatMap((browser, index) => [
    browser,
    programs[index % programs.length] ?? "node",
  ]);
}
