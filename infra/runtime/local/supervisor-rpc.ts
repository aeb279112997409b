import { request } from "node:http";

/*
 * supervisord's own protocol, XML-RPC over its socket. Its command line program is a Python that
 * takes 0.2 s of processor time for each question, and its exit codes do not tell a failure from
 * "already so".
 */

/** What XML-RPC can carry, as far as supervisord answers with it. */
export type RpcValue = string | number | boolean | RpcValue[] | { [name: string]: RpcValue };

/** supervisord's refusal: https://supervisord.org/api.html, class Faults of supervisor.xmlrpc. */
export class RpcFault extends Error {
  readonly faultCode: number;

  constructor(method: string, faultCode: number, faultString: string) {
    super(`supervisord refused ${method}: ${faultString}`);
    this.name = "RpcFault";
    this.faultCode = faultCode;
  }
}

/**
 * Calls a method of supervisord.
 *
 * @param timeoutMs for the whole answer: stopping a process lasts as long as the process takes
 * @throws RpcFault when supervisord refuses
 */
export async function callSupervisord(
  socketPath: string,
  method: string,
  parameters: readonly (string | boolean)[] = [],
  timeoutMs = 10_000,
): Promise<RpcValue | undefined> {
  const answer = parseAnswer(await post(socketPath, render(method, parameters), timeoutMs));
  if (!answer.isFault) return answer.value;
  const { faultCode, faultString } = fieldsOf(answer.value);
  throw new RpcFault(method, Number(faultCode), textOf(faultString));
}

/** The fields of a struct; none for anything else. */
export function fieldsOf(value: RpcValue | undefined): { [name: string]: RpcValue } {
  return typeof value === "object" && !Array.isArray(value) ? value : {};
}

/** The items of an array; none for anything else. */
export function itemsOf(value: RpcValue | undefined): RpcValue[] {
  return Array.isArray(value) ? value : [];
}

/** A string; empty for anything else. */
export function textOf(value: RpcValue | undefined): string {
  return typeof value === "string" ? value : "";
}

async function post(socketPath: string, body: string, timeoutMs: number): Promise<string> {
  return await new Promise((resolve, reject) => {
    const outgoing = request({
      socketPath,
      method: "POST",
      path: "/RPC2",
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
      headers: { "content-type": "text/xml", "content-length": Buffer.byteLength(body) },
    });
    outgoing.once("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.once("end", () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`supervisord answered ${response.statusCode}`));
      });
      response.once("error", reject);
    });
    outgoing.once("error", reject);
    outgoing.end(body);
  });
}

function render(method: string, parameters: readonly (string | boolean)[]): string {
  const values = parameters.map((parameter) =>
    typeof parameter === "boolean"
      ? `<boolean>${parameter ? 1 : 0}</boolean>`
      : `<string>${parameter.replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</string>`,
  );
  const params = values.map((value) => `<param><value>${value}</value></param>`).join("");
  return `<?xml version="1.0"?><methodCall><methodName>${method}</methodName><params>${params}</params></methodCall>`;
}

/**
 * Reads an answer as Python's xmlrpc.client writes it: every value with its type, no attributes.
 * Names and values of a struct are gathered like the items of an array, one after the other.
 */
export function parseAnswer(xml: string): { isFault: boolean; value: RpcValue | undefined } {
  const open: RpcValue[][] = [[]];
  let text = "";
  for (const [, slash, tag, chunk] of xml.matchAll(/<(\/?)([\w.]+)[^>]*>|([^<]+)/g)) {
    if (tag === undefined) {
      text = chunk ?? "";
      continue;
    }
    if (slash === "") {
      text = "";
      if (tag === "array" || tag === "struct") open.push([]);
      continue;
    }
    const value = valueOf(tag, text, open);
    if (value !== undefined) open.at(-1)?.push(value);
    text = "";
  }
  return { isFault: xml.includes("<fault>"), value: open[0]?.[0] };
}

/** The value that a closing tag completes, if it completes one. */
function valueOf(tag: string, text: string, open: RpcValue[][]): RpcValue | undefined {
  switch (tag) {
    case "name":
    case "string":
      return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
    case "int":
      return Number(text);
    case "boolean":
      return text === "1";
    case "array":
      return open.pop();
    case "struct": {
      const gathered = open.pop() ?? [];
      const names = gathered.filter((_, index) => index % 2 === 0);
      return Object.fromEntries(
        names.map((name, index) => [textOf(name), gathered[index * 2 + 1] ?? ""]),
      );
    }
    default:
      return undefined;
  }
}
