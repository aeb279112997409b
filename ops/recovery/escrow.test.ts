import { describe, expect, test } from "vitest";
import { run } from "#system";
import { isSealed, moveEscrow, parseEscrow, seal, unseal, type Escrow } from "./escrow.ts";

const escrow: Escrow = {
  format: 1,
  stack: "local",
  made_at: "2026-11-24T12:00:00.000Z",
  home: { state: "/var/lib/ctm", run: "/run/ctm", log: "/var/log/ctm" },
  descriptor:
    '{"path": "/var/lib/ctm/local", "socket": "/run/ctm/local/s", "other": "/var/lib/ctm2"}',
  ports: "{}",
  repository_cipher: "cipher",
  settings_key: "key",
  authority: { certificate: "certificate", key: "key" },
  far: {
    backrest: "pg1-path=/var/lib/ctm/local/members/m1/data\nlog-path=/var/log/ctm/local\n",
    rclone: "[far]\n",
    place: "far:backups/ctm/local",
    authority: null,
  },
  pulumi: { passphrase: "p", configuration: "c", checkpoint: '{"path":"/var/lib/ctm/local/tls"}' },
};
const text = JSON.stringify(escrow);

describe("sealed", () => {
  const sealed = seal(text, "correct horse battery staple");

  test("it opens with its passphrase", () => {
    expect(isSealed(sealed)).toBe(true);
    expect(isSealed(text)).toBe(false);
    expect(sealed).not.toContain("cipher");
    expect(parseEscrow(unseal(sealed, "correct horse battery staple"), "file")).toEqual(escrow);
  });

  test("another passphrase, and a changed byte, are told", () => {
    const wrong = "wrong-passphrase: the escrow cannot be opened with this passphrase";
    expect(() => unseal(sealed, "incorrect")).toThrow(wrong.slice(18));
    const changed = sealed.replace(/.(?=.{9}\n)/, (letter) => (letter === "A" ? "B" : "A"));
    expect(() => unseal(changed, "correct horse battery staple")).toThrow(wrong.slice(18));
  });

  test("OpenSSL opens it, on a machine without ctm", async () => {
    const { stdout } = await run(
      "openssl",
      "enc -d -aes-256-cbc -pbkdf2 -iter 600000 -a -pass env:PHRASE".split(" "),
      { input: sealed, env: { ...process.env, PHRASE: "correct horse battery staple" } },
    );
    expect(stdout.split("\n").slice(1).join("\n")).toBe(text);
  });
});

test("another home takes the place of the old one, and of nothing that only begins like it", () => {
  const moved = moveEscrow(escrow, { state: "/tmp/h", run: "/tmp/h/run", log: "/tmp/h/log" });
  expect(JSON.parse(moved.descriptor)).toEqual({
    path: "/tmp/h/local",
    socket: "/tmp/h/run/local/s",
    other: "/var/lib/ctm2",
  });
  expect(moved.far?.backrest).toBe(
    "pg1-path=/tmp/h/local/members/m1/data\nlog-path=/tmp/h/log/local\n",
  );
  expect(moved.pulumi?.checkpoint).toBe('{"path":"/tmp/h/local/tls"}');
  expect(moveEscrow(moved, escrow.home)).toEqual(escrow);
});

test("what is no escrow is refused with what is wrong", () => {
  expect(() => parseEscrow('{"format": 2}', "paper.txt")).toThrow(/^paper\.txt: format: /);
  expect(() => parseEscrow("nothing", "paper.txt")).toThrow(/^paper\.txt: document: /);
});
