import { expect, test } from "vitest";
import { backrestFailure, parseInfo } from "./repository.ts";

/** What pgBackRest 2.45 printed for a full backup and a differential one, with one repository. */
const recorded = `[{"archive":[{"database":{"id":1,"repo-key":1},"id":"15-1","max":"000000010000000000000011","min":"000000010000000000000001"}],"backup":[{"archive":{"start":"00000001000000000000000F","stop":"00000001000000000000000F"},"backrest":{"format":5,"version":"2.45"},"database":{"id":1,"repo-key":1},"error":false,"info":{"delta":253912914,"repository":{"delta":18937648,"size":18937648},"size":253912914},"label":"20261124-074444F","lsn":{"start":"0/F000028","stop":"0/F000138"},"prior":null,"reference":null,"timestamp":{"start":1795506284,"stop":1795506287},"type":"full"},{"archive":{"start":"000000010000000000000011","stop":"000000010000000000000011"},"backrest":{"format":5,"version":"2.45"},"database":{"id":1,"repo-key":1},"error":true,"info":{"delta":8478,"repository":{"delta":464,"size":18937664},"size":253912914},"label":"20261124-074444F_20261124-074502D","lsn":{"start":"0/11000028","stop":"0/11000100"},"prior":"20261124-074444F","reference":["20261124-074444F"],"timestamp":{"start":1795506302,"stop":1795506303},"type":"diff"}],"cipher":"aes-256-cbc","db":[{"id":1,"repo-key":1,"system-id":7711640706707395798,"version":"15"}],"name":"main","repo":[{"cipher":"aes-256-cbc","key":1,"status":{"code":0,"message":"ok"}}],"status":{"code":0,"lock":{"backup":{"held":true}},"message":"ok"}}]`;

test("backups, archive and lock are read from pgBackRest's answer", () => {
  const facts = parseInfo(recorded, "main");
  expect(facts.running).toBe(true);
  expect(facts.repositories).toEqual([
    {
      number: 1,
      status: "ok",
      ok: true,
      cipher: "aes-256-cbc",
      oldestWal: "000000010000000000000001",
      newestWal: "000000010000000000000011",
    },
  ]);
  expect(facts.backups.map(({ label, damaged }) => [label, damaged])).toEqual([
    ["20261124-074444F", false],
    ["20261124-074444F_20261124-074502D", true],
  ]);
  expect(facts.backups[1]).toMatchObject({
    type: "diff",
    prior: "20261124-074444F",
    stoppedAt: new Date("2026-11-24T07:45:03Z"),
    databaseBytes: 253_912_914,
    storedBytes: 464,
  });
});

test("a stanza that pgBackRest does not know has nothing", () => {
  expect(parseInfo("[]", "main")).toEqual({ repositories: [], backups: [], running: false });
  expect(parseInfo(recorded, "other").backups).toEqual([]);
});

const noise = "[FormatError] unable to load info file '/r/backup/main/backup.info'";

test.each([
  [
    99,
    "[PathOpenError] unable to list file info for path '/r': [13] Permission denied\nHINT: x",
    "repository 1 cannot be read: [PathOpenError] unable to list file info for path '/r': [13] Permission denied",
  ],
  [
    99,
    `${noise}:\nFormatError: key/value found outside of section at line 1: noise`,
    "repository 1 cannot be deciphered: the passphrase in pgbackrest.conf is not the one that it was made with",
  ],
  [
    99,
    "[CryptoError] unable to flush",
    "repository 1 cannot be deciphered: the passphrase in pgbackrest.conf is not the one that it was made with",
  ],
])(
  "a repository that cannot be read says why, though pgBackRest exits 0: %i %s",
  (code, message, expected) => {
    const [stanza] = JSON.parse(recorded) as { repo: object[] }[];
    const repo = [{ cipher: "aes-256-cbc", key: 1, status: { code, message } }];
    const read = () => parseInfo(JSON.stringify([{ ...stanza, repo }]), "main");
    expect(read).toThrow(expected);
  },
);

test("pgBackRest quotes noise as it is, control characters and all", () => {
  const [stanza] = JSON.parse(recorded) as object[];
  const status = { code: 99, message: `${noise} NOISE` };
  const answer = JSON.stringify([
    { ...stanza, repo: [{ cipher: "aes-256-cbc", key: 1, status }] },
  ]).replace("NOISE", "\u0001\u001b\ufffd");
  expect(() => parseInfo(answer, "main")).toThrow(/^repository 1 cannot be deciphered: /);
});

test("a repository that is not where it should be is none", () => {
  const status = { code: 1, message: "missing stanza path" };
  const [stanza] = JSON.parse(recorded) as object[];
  const answer = { ...stanza, backup: [], repo: [{ cipher: "aes-256-cbc", key: 1, status }] };
  expect(parseInfo(JSON.stringify([answer]), "main").repositories).toEqual([]);
});

test.each(["", "ERROR: [037]", '{"a":1}', '[{"name":"main"}]'])(
  "an answer of another form is refused: %s",
  (text) => {
    expect(() => parseInfo(text, "main")).toThrow(/^pgBackRest answered in an unknown form: /);
  },
);

test("a failure is told in pgBackRest's words, without its time stamps", () => {
  const stdall =
    "2026-11-24 07:44:47.129 P00  ERROR: [037]: backup command requires option: pg1-path\n       HINT: does this stanza exist?\n";
  expect(backrestFailure({ stdall, exitCode: 37, signal: null })).toBe(
    "pgBackRest ended with exit code 37: [037]: backup command requires option: pg1-path; HINT: does this stanza exist?",
  );
  expect(backrestFailure({ stdall: "", exitCode: null, signal: "SIGTERM" })).toBe(
    "pgBackRest ended with signal SIGTERM",
  );
});
