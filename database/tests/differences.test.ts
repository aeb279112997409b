import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compareCatalogs } from "../catalog/compare-catalogs.ts";
import { readCatalog, type CatalogObject } from "../catalog/read-catalog.ts";
import { connect, disconnect } from "../runner/connect.ts";
import { makeFreshDatabase } from "../runner/fresh-database.ts";
import { startScratchServer, type ScratchServer } from "../runner/scratch-server.ts";

const docs = new URL("../../docs/", import.meta.url);

/** The document's indexes that 002 leaves to files of their own. */
const documentedIndexes = `
  SET ROLE ctm_owner;
  CREATE INDEX idx_tasks_status_priority ON tasks(status, priority);
  CREATE INDEX idx_tasks_assigned_status ON tasks(assigned_to, status);
  CREATE INDEX idx_tasks_tags_gin ON tasks USING GIN(tags);
  CREATE INDEX idx_tasks_requirements_gin ON tasks USING GIN(requirements);
  RESET ROLE`;

let server: ScratchServer;
beforeAll(async () => {
  server = await startScratchServer({
    settings: { shared_preload_libraries: "pg_stat_statements" },
  });
});
afterAll(async () => server.stop());

async function catalogOf(name: string, before?: string): Promise<CatalogObject[]> {
  const client = await connect(server.database(name), "differences");
  try {
    if (before !== undefined) await client.query(before);
    return (await readCatalog(client)).map(withoutComment);
  } finally {
    await disconnect(client);
  }
}

function withoutComment(object: CatalogObject): CatalogObject {
  const lines = object.definition.split("\n").filter((line) => !line.startsWith("comment "));
  return { ...object, definition: lines.join("\n") };
}

/** `public.tasks.title` is written `tasks.title` or `title`; arguments are left out. */
function namesOf(object: string): string[] {
  const plain = object.replaceAll('"', "").replace(/\(.*\)/, "");
  const parts = plain.replace(/^public\./, "").split(".");
  return [parts.join("."), parts.at(-1) ?? ""];
}

test("every difference to the document is in docs/schema-differences.md", async () => {
  const documented = new Set(["001", "002"]);
  await makeFreshDatabase(server, "documented", {
    select: ({ version }) => version !== null && documented.has(version),
  });
  await makeFreshDatabase(server, "ours");
  const differences = compareCatalogs(
    await catalogOf("documented", documentedIndexes),
    await catalogOf("ours"),
  ).filter(({ difference }) => difference !== "unexpected");
  expect(differences.length).toBeGreaterThan(30);

  const text = await readFile(new URL("schema-differences.md", docs), "utf8");
  const named = new Set([...text.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name));
  const missing = differences
    .filter(({ kind }) => kind !== "grant")
    .filter(({ name }) => !namesOf(name).some((form) => named.has(form)))
    .map(({ kind, name }) => `${kind} ${name}`);
  expect(missing).toEqual([]);

  // Privileges taken back: those of PUBLIC, and the hash from reports.
  const grants = differences.filter(({ kind }) => kind === "grant").map(({ name }) => name);
  const expected = grants.filter(
    (name) => name.endsWith(" to public") || name === "table public.api_keys to readonly_users",
  );
  expect(grants).toEqual(expected);
});

test("docs/indexes.md names every index that a table has beside its keys", async () => {
  const text = await readFile(new URL("indexes.md", docs), "utf8");
  // `idx_x_a`, `_b`: the second of a table is written by its ending.
  const known = (name: string): boolean => text.includes(`\`${name}\``) || endingIn(text, name);
  const indexes = (await catalogOf("ours"))
    .filter(
      ({ kind, name }) => kind === "index" && /\.idx_(?!task_dependency_tree|task_perf)/.test(name),
    )
    .map(({ name }) => namesOf(name)[1] ?? "");
  expect(indexes.length).toBeGreaterThan(30);
  expect(indexes.filter((name) => !known(name))).toEqual([]);
});

/** Whether some `_ending` of the name stands in the text. */
function endingIn(text: string, name: string): boolean {
  const words = name.split("_");
  return words.some(
    (_, index) => index > 1 && text.includes(`\`_${words.slice(index).join("_")}\``),
  );
}

test("the statements of docs/indexes.md run", async () => {
  const text = await readFile(new URL("indexes.md", docs), "utf8");
  const blocks = [...text.matchAll(/^```sql\n([^]*?)^```$/gm)].map(([, sql = ""]) => sql);
  expect(blocks.length).toBe(3);
  const client = await connect(server.database("ours"), "differences");
  try {
    for (const sql of blocks) await client.query(sql);
    // Defect 11: the document's own.
    await expect(
      client.query("SELECT query, calls, total_time, mean_time FROM pg_stat_statements"),
    ).rejects.toMatchObject({ code: "42703" });
  } finally {
    await disconnect(client);
  }
});
