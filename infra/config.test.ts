import { describe, expect, it } from "vitest";
import { CtmError } from "#system";
import { farRepositoryOf } from "./backup/far-repository.ts";
import { bytesOf, parseConfiguration, type Configuration } from "./config.ts";

const defaults: Configuration = {
  members: [{ name: "m1" }, { name: "m2" }],
  synchronous: true,
  parameters: {},
  archiveTimeoutSeconds: 60,
  fullBackupDays: 30,
  windowDays: 7,
  fullBackupAt: "02:00",
  rpoMinutes: 15,
  rtoMinutes: 30,
};

function errorOf(configuration: Record<string, string>): CtmError {
  try {
    parseConfiguration(configuration);
  } catch (error) {
    if (error instanceof CtmError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

it("gives the local stack when nothing is set", () => {
  expect(parseConfiguration({})).toEqual(defaults);
});

it("leaves other people's keys to them", () => {
  expect(parseConfiguration({ "cloudflare:apiToken": "x", "ctmx:members": "none" })).toEqual(
    defaults,
  );
});

// One row for each key, as `pulumi config set` stores them: all text.
it.each<[key: keyof Configuration, text: string, value: unknown]>([
  [
    "members",
    '[{"name":"a"},{"name":"b-2"},{"name":"c"}]',
    [{ name: "a" }, { name: "b-2" }, { name: "c" }],
  ],
  ["readWritePort", "6432", 6432],
  ["readOnlyPort", "6433", 6433],
  ["apiPort", "9480", 9480],
  ["adminPort", "9481", 9481],
  ["synchronous", "false", false],
  ["memory", "8GB", "8GB"],
  ["cores", "4", 4],
  [
    "parameters",
    '{"work_mem":"64MB","auto_explain.log_min_duration":"1s"}',
    { work_mem: "64MB", "auto_explain.log_min_duration": "1s" },
  ],
  ["archiveTimeoutSeconds", "10", 10],
  ["fullBackupDays", "90", 90],
  ["windowDays", "14", 14],
  ["fullBackupAt", "23:30", "23:30"],
  ["incrementalMinutes", "15", 15],
  ["rpoMinutes", "5", 5],
  ["rtoMinutes", "60", 60],
])("reads ctm:%s = %s", (key, text, value) => {
  expect(parseConfiguration({ [`ctm:${key}`]: text })).toEqual({ ...defaults, [key]: value });
});

const far = { endpoint: "https://s3.example.org", region: "eu-1", bucket: "backups" };
const farKeys = { "ctm:farAccessKey": "AKIA", "ctm:farSecretKey": "secret" };

it("takes a far repository with its keys", () => {
  const configuration = parseConfiguration({
    "ctm:farRepository": JSON.stringify(far),
    ...farKeys,
  });
  expect(farRepositoryOf(configuration, "production")).toEqual({
    ...far,
    uriStyle: "path",
    path: "/ctm/production",
    authority: null,
    accessKey: "AKIA",
    secretKey: "secret",
  });
});

describe("a bad value", () => {
  // One row for each rule.
  it.each<[key: string, text: string, message: string]>([
    ["members", "m1", "Invalid input: expected array, received string"],
    ["members", "[]", "Too small: expected array to have >=1 items"],
    [
      "members",
      JSON.stringify("abcdefghij".split("").map((name) => ({ name }))),
      "Too big: expected array to have <=9 items",
    ],
    [
      "members",
      '[{"name":"m1"},{"name":"m2"},{"name":"m1"}]',
      'members[2].name: two members are named "m1"',
    ],
    ["members", '[{"name":"M1"}]', "members[0].name: must be a letter, then a-z, 0-9 or dashes"],
    [
      "members",
      `[{"name":"${"m".repeat(33)}"}]`,
      "members[0].name: must be a letter, then a-z, 0-9 or dashes",
    ],
    ["members", "[{}]", "members[0].name: Invalid input: expected string, received undefined"],
    ["members", '[{"name":"m1","size":2}]', "members[0].size is no key of ctm"],
    ["readWritePort", "five", "Invalid input: expected number, received string"],
    ["readWritePort", "80", "Too small: expected number to be >=1024"],
    ["readOnlyPort", "65536", "Too big: expected number to be <=65535"],
    ["apiPort", "8480.5", "Invalid input: expected int, received number"],
    ["adminPort", "true", "Invalid input: expected number, received boolean"],
    ["synchronous", "yes", "Invalid input: expected boolean, received string"],
    ["memory", "8", "Invalid input: expected string, received number"],
    ["memory", "8G", 'must be a size such as "512MB" or "8GB"'],
    ["memory", "0GB", 'must be a size such as "512MB" or "8GB"'],
    ["cores", "0", "Too small: expected number to be >=1"],
    ["cores", "1025", "Too big: expected number to be <=1024"],
    [
      "parameters",
      '{"work_mem":64}',
      "parameters.work_mem: Invalid input: expected string, received number",
    ],
    ["archiveTimeoutSeconds", "0", "Too small: expected number to be >=1"],
    ["archiveTimeoutSeconds", "3601", "Too big: expected number to be <=3600"],
    ["fullBackupDays", "0", "Too small: expected number to be >=1"],
    ["fullBackupDays", "3651", "Too big: expected number to be <=3650"],
    ["windowDays", "0", "Too small: expected number to be >=1"],
    [
      "windowDays",
      "31",
      "a window of 31 days needs full backups of as many, and fullBackupDays is 30",
    ],
    ["fullBackupAt", "24:00", 'must be a time such as "02:00"'],
    ["incrementalMinutes", "4", "Too small: expected number to be >=5"],
    ["rpoMinutes", "0", "Too small: expected number to be >=1"],
    ["rtoMinutes", "10081", "Too big: expected number to be <=10080"],
  ])("ctm:%s = %s is refused with its place", (key, text, message) => {
    const place = message.startsWith(key) ? `ctm:${message}` : `ctm:${key}: ${message}`;
    expect(errorOf({ [`ctm:${key}`]: text }).text).toBe(
      `bad-configuration: ${place}\nnext: pulumi config, and infra/config.ts for every key`,
    );
  });

  it.each<[settings: Record<string, string>, message: string]>([
    [
      { "ctm:rpoMinutes": "1" },
      "ctm:archiveTimeoutSeconds: 60 s until WAL is archived are not within rpoMinutes, which is 1: at most 59",
    ],
    [
      {
        "ctm:rpoMinutes": "1",
        "ctm:archiveTimeoutSeconds": "50",
        "ctm:farRepository": JSON.stringify(far),
        ...farKeys,
      },
      "ctm:archiveTimeoutSeconds: 50 s until WAL is archived and 10 s until the far copy has it are not within rpoMinutes, which is 1: at most 49",
    ],
    [
      { "ctm:incrementalMinutes": "1440", "ctm:archiveTimeoutSeconds": "1" },
      "ctm:incrementalMinutes: in 1440 min an archive_timeout of 1 s makes 86400 segments of WAL, a restore of which takes about 72 min, and rtoMinutes is 30: at most 594",
    ],
  ])("of a promise that it breaks itself, %o, is refused", (settings, message) => {
    expect(errorOf(settings).message).toBe(message);
  });

  it.each<[settings: object, message: string]>([
    [{ ...far, endpoint: "http://s3" }, "endpoint: must be a URL that begins with https://"],
    [
      { ...far, endpoint: "https://s3/backups" },
      "endpoint: must have no path: the bucket has its own key",
    ],
    [{ ...far, bucket: "Backups" }, "bucket: must be a bucket's name"],
    [{ ...far, path: "ctm" }, "path: must be a path such as /ctm/production"],
    [{ ...far, region: "" }, "region: Too small: expected string to have >=1 characters"],
    [{ ...far, authority: "ca.pem" }, 'authority: Invalid string: must start with "/"'],
  ])("of a far repository, %o, is refused", (settings, message) => {
    expect(errorOf({ "ctm:farRepository": JSON.stringify(settings), ...farKeys }).message).toBe(
      `ctm:farRepository.${message}`,
    );
  });

  it("is a far repository without its keys, or keys without it", () => {
    expect(errorOf({ "ctm:farRepository": JSON.stringify(far) }).message).toBe(
      "ctm:farAccessKey: must be set where ctm:farRepository is; ctm:farSecretKey: must be set where ctm:farRepository is",
    );
    expect(errorOf({ ...farKeys }).message).toBe(
      "ctm:farRepository: must be set where ctm:farAccessKey is",
    );
  });

  it.each<[name: string, message: string]>([
    ["work mem; DROP", "must be a PostgreSQL setting in lower case"],
    ["port", "is set by ctm itself"],
    ["ssl_min_protocol_version", "is set by ctm itself"],
    ["archive_command", "is set by ctm itself"],
    ["archive_timeout", "is set by ctm itself"],
  ])("of a parameter named %s is refused", (name, message) => {
    expect(errorOf({ "ctm:parameters": JSON.stringify({ [name]: "1" }) }).message).toBe(
      `ctm:parameters.${name}: ${message}`,
    );
  });

  it("is wrong usage", () => {
    expect(errorOf({ "ctm:cores": "none" })).toMatchObject({
      code: "bad-configuration",
      exitCode: 2,
    });
  });
});

it("refuses a key that nobody knows", () => {
  expect(errorOf({ "ctm:member": "[]" }).text).toBe(
    "bad-configuration: ctm:member is no key of ctm\nnext: pulumi config, and infra/config.ts for every key",
  );
});

it("tells everything that is wrong at once", () => {
  const { message } = errorOf({
    "ctm:members": '[{"name":"m1"},{"name":"m1"}]',
    "ctm:apiPort": "1",
    "ctm:synchronous": "maybe",
    "ctm:memroy": "8GB",
    "ctm:coers": "2",
  });
  expect(message.split("; ").toSorted()).toEqual([
    "ctm:apiPort: Too small: expected number to be >=1024",
    "ctm:coers is no key of ctm",
    'ctm:members[1].name: two members are named "m1"',
    "ctm:memroy is no key of ctm",
    "ctm:synchronous: Invalid input: expected boolean, received string",
  ]);
});

it.each<[text: string, bytes: number]>([
  ["512MB", 536_870_912],
  ["8GB", 8_589_934_592],
])("takes %s for %d bytes", (text, bytes) => {
  expect(bytesOf(text)).toBe(bytes);
});
