import { expect, test } from "vitest";
import { readWalLine } from "./wal-records.ts";

const payload = [
  ...Buffer.from(
    '{"event" : "drop", "schema" : "public", "table" : "täsks", "xid" : "4294968027", "role" : "ctm_migrator", "application" : "psql"}',
  ),
]
  .map((byte) => byte.toString(16).toUpperCase().padStart(2, "0"))
  .join(" ");

/* Lines of PostgreSQL 15.18's pg_waldump. */
test("commits, restore points and marks are read, everything else is left out", () => {
  const dump = `
rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/01535D28, prev 0/01535CF0, desc: CHECKPOINT_ONLINE redo 0/1535CF0; tli 1
rmgr: LogicalMessage len (rec/tot):    144/   144, tx:        732, lsn: 0/015354B8, prev 0/01535480, desc: MESSAGE transactional, prefix "ctm"; payload (${(payload.length + 1) / 3} bytes): ${payload}
rmgr: LogicalMessage len (rec/tot):    144/   144, tx:        732, lsn: 0/015354B8, prev 0/01535480, desc: MESSAGE transactional, prefix "other"; payload (2 bytes): 7B 7D
rmgr: LogicalMessage len (rec/tot):    144/   144, tx:        732, lsn: 0/015354B8, prev 0/01535480, desc: MESSAGE transactional, prefix "ctm"; payload (2 bytes): 7B 7D
rmgr: Transaction len (rec/tot):    477/   477, tx:        731, lsn: 0/01535588, prev 0/01535548, desc: COMMIT 2026-11-24 11:10:42.095640 UTC; rels: base/5/16387 base/5/16390; subxacts: 732 733; dropped stats: 2/5/16387; inval msgs: catcache 80 snapshot 2608
rmgr: Transaction len (rec/tot):     38/    38, tx:        734, lsn: 1/A1535B38, prev 1/A1535AA8, desc: ABORT 2026-11-24 11:10:42.096490 UTC
rmgr: XLOG        len (rec/tot):     98/    98, tx:          0, lsn: 1/A1535B60, prev 1/A1535B38, desc: RESTORE_POINT before: the upgrade
rmgr: Transaction len (rec/tot):    933/   933, tx:        725, lsn: 1/A1536AB0, prev 1/A1536A78, desc: PREPARE gid x: 2026-11-24 18:37:11.391632 UTC; rels(commit): base/5/16384
rmgr: Transaction len (rec/tot):    473/   473, tx:          0, lsn: 1/A1536E58, prev 1/A1536AB0, desc: COMMIT_PREPARED 725: 2026-11-24 18:37:11.391708 UTC; rels: base/5/16384; dropped stats: 2/5/16384
rmgr: Database    len (rec/tot):     38/    38, tx:        727, lsn: 1/A1536F00, prev 1/A1536E58, desc: DROP dir 1663/16387
rmgr: Database    len (rec/tot):     34/    34, tx:        728, lsn: 1/A1536F38, prev 1/A1536F00, desc: CREATE_WAL_LOG create dir 1663/16388
first record is after 0/1000000, at 0/1000028, skipping over 40 bytes
`;
  expect(dump.split("\n").flatMap((line) => readWalLine(line) ?? [])).toEqual([
    {
      kind: "mark",
      lsn: 0x15_35_4b8n,
      mark: {
        event: "drop",
        schema: "public",
        table: "täsks",
        xid: 731,
        role: "ctm_migrator",
        application: "psql",
      },
    },
    {
      kind: "commit",
      lsn: 0x15_35_588n,
      xid: 731,
      at: "2026-11-24 11:10:42.095640",
      subtransactions: [732, 733],
      filesRemoved: ["base/5/16387", "base/5/16390"],
    },
    {
      kind: "abort",
      lsn: 0x1_a1_53_5b_38n,
      xid: 734,
      at: "2026-11-24 11:10:42.096490",
      subtransactions: [],
      filesRemoved: [],
    },
    { kind: "restore-point", lsn: 0x1_a1_53_5b_60n, name: "before: the upgrade" },
    {
      kind: "commit",
      lsn: 0x1_a1_53_6e_58n,
      xid: 725,
      at: "2026-11-24 18:37:11.391708",
      subtransactions: [],
      filesRemoved: ["base/5/16384"],
    },
    { kind: "database-removal", lsn: 0x1_a1_53_6f_00n, xid: 727, directory: "1663/16387" },
  ]);
});
