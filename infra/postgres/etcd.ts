import { readFile } from "node:fs/promises";
import { request } from "node:https";
import type { Descriptor } from "#stack";
import { CtmError, messageOf } from "#system";

/**
 * What Patroni remembers of the data that a cluster had, of which nothing is true after a restore
 * to an earlier moment: without forgetting it, a leader in the past would be refused as one that
 * lags. Its configuration and the system identifier stay, for both are still right
 * (patroni 3.0.2, dcs/__init__.py).
 */
const historyKeys = [
  "leader",
  "status",
  "optime/leader",
  "sync",
  "history",
  "failover",
  "failsafe",
];

/** Folder of Patroni's keys in etcd, as patroni.yml says. */
const namespace = "/ctm";

const timeoutMs = 10_000;

/**
 * Makes Patroni forget the data that the cluster had. Only while no member runs: each of them would
 * write some of it anew.
 *
 * @throws CtmError `etcd-unreachable`
 */
export async function forgetHistory(descriptor: Descriptor): Promise<void> {
  for (const key of historyKeys) {
    await deleteKey(descriptor, `${namespace}/${descriptor.postgres.cluster}/${key}`);
  }
}

/** Over etcd's JSON gateway (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/). */
async function deleteKey({ etcd, tls }: Descriptor, key: string): Promise<void> {
  const failures: string[] = [];
  for (const { name, client } of etcd) {
    try {
      await post(client, "/v3/kv/deleterange", { key: Buffer.from(key).toString("base64") }, tls);
      return;
    } catch (error) {
      failures.push(`${name}: ${messageOf(error)}`);
    }
  }
  throw new CtmError("etcd-unreachable", failures.join("; "), { next: "ctm logs etcd" });
}

async function post(
  { host, port }: { host: string; port: number },
  path: string,
  body: unknown,
  tls: Descriptor["tls"],
): Promise<void> {
  const [ca, cert, key] = await Promise.all(
    [tls.authority, tls.etcdCertificate, tls.etcdKey].map((file) => readFile(file)),
  );
  await new Promise<void>((resolve, reject) => {
    const outgoing = request({
      host,
      port,
      path,
      method: "POST",
      agent: false,
      timeout: timeoutMs,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      headers: { "content-type": "application/json" },
    });
    outgoing.once("response", (response) => {
      response.resume();
      response.once("error", reject);
      response.once("end", () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`etcd answered ${response.statusCode}`));
      });
    });
    outgoing.once("timeout", () => outgoing.destroy(new Error("no answer")));
    outgoing.once("error", reject);
    outgoing.end(JSON.stringify(body));
  });
}
