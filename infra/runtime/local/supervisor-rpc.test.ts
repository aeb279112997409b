import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { callSupervisord, parseAnswer, RpcFault } from "./supervisor-rpc.ts";

/* What supervisord really answers is in provider/supervised-resources.test.ts; here are its oddities. */

let folder: string;
let server: Server | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-rpc-"));
});

afterEach(async () => {
  await new Promise((resolve) => {
    if (server === undefined) resolve(undefined);
    else server.close(resolve);
    server?.closeAllConnections();
  });
  server = undefined;
  await rm(folder, { recursive: true, force: true });
});

/** Answers every call with the same text, and remembers the calls. */
async function answering(status: number, text: string | undefined): Promise<{ calls: string[] }> {
  const calls: string[] = [];
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      calls.push(body);
      response.statusCode = status;
      if (text !== undefined) response.end(text);
    });
  });
  await new Promise<void>((resolve) => server?.listen(join(folder, "sock"), resolve));
  return { calls };
}

const method = (value: string): string =>
  `<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value>${value}</value>\n</param>\n</params>\n</methodResponse>\n`;

it("reads every kind of value that supervisord sends", () => {
  const struct = `<struct>
<member>
<name>name</name>
<value><string>a &lt;b&gt; &amp;lt; c</string></value>
</member>
<member>
<name>empty</name>
<value><string></string></value>
</member>
<member>
<name>pid</name>
<value><int>-42</int></value>
</member>
<member>
<name>lists</name>
<value><array><data>
<value><array><data>
</data></array></value>
<value><boolean>1</boolean></value>
</data></array></value>
</member>
</struct>`;
  expect(parseAnswer(method(struct))).toEqual({
    isFault: false,
    value: { name: "a <b> &lt; c", empty: "", pid: -42, lists: [[], true] },
  });
  expect(parseAnswer(method("<boolean>0</boolean>"))).toEqual({ isFault: false, value: false });
});

it("sends text as it is", async () => {
  const { calls } = await answering(200, method("<boolean>1</boolean>"));
  await callSupervisord(join(folder, "sock"), "supervisor.startProcess", ["a<b>&c", false]);
  expect(calls).toEqual([
    '<?xml version="1.0"?><methodCall><methodName>supervisor.startProcess</methodName><params>' +
      "<param><value><string>a&lt;b>&amp;c</string></value></param>" +
      "<param><value><boolean>0</boolean></value></param></params></methodCall>",
  ]);
});

it("throws what supervisord refuses, with its number", async () => {
  const fault = `<?xml version='1.0'?>\n<methodResponse>\n<fault>\n<value><struct>
<member><name>faultCode</name><value><int>10</int></value></member>
<member><name>faultString</name><value><string>BAD_NAME: no</string></value></member>
</struct></value>\n</fault>\n</methodResponse>`;
  await answering(200, fault);
  const refused = callSupervisord(join(folder, "sock"), "supervisor.startProcess", ["no"]);
  await expect(refused).rejects.toBeInstanceOf(RpcFault);
  await expect(refused).rejects.toMatchObject({
    faultCode: 10,
    message: "supervisord refused supervisor.startProcess: BAD_NAME: no",
  });
});

it("says so when the answer is no answer", async () => {
  await answering(500, "sorry");
  await expect(callSupervisord(join(folder, "sock"), "supervisor.getState")).rejects.toThrow(
    "supervisord answered 500",
  );
});

it("does not wait for ever", async () => {
  await answering(200, undefined);
  await expect(
    callSupervisord(join(folder, "sock"), "supervisor.getState", [], 50),
  ).rejects.toMatchObject({ name: "AbortError" });
});
