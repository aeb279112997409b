import { httpGet } from "./https-get.ts";

export interface PoolFacts {
  name: string;
  /** Connections that a request holds now. */
  busy: number;
  /** The pool never opens more. */
  max: number;
  /** Requests that wait for a connection. */
  waiting: number;
}

export interface ApiFacts {
  version: string | null;
  pools: PoolFacts[];
}

/**
 * The API, as its admin port tells: ready, its version, its connection pools.
 *
 * @throws Error when it does not answer or says that it is not ready
 */
export async function readApi(
  adminUrl: string,
  options: { timeoutMs: number; signal?: AbortSignal },
): Promise<ApiFacts> {
  const [ready, metrics] = await Promise.all([
    httpGet(new URL("/ready", adminUrl), options),
    httpGet(new URL("/metrics", adminUrl), options),
  ]);
  if (ready.status !== 200) throw new Error(`/ready answers ${ready.status}`);
  const samples = parseMetrics(metrics.text);
  const connections = samples.filter(({ name }) => name === "ctm_api_pool_connections");
  const count = (pool: string, state: string): number =>
    connections.find(({ labels }) => labels["pool"] === pool && labels["state"] === state)?.value ??
    0;
  const pools = [...new Set(connections.flatMap(({ labels }) => labels["pool"] ?? []))];
  return {
    version: samples.find(({ name }) => name === "ctm_api_info")?.labels["version"] ?? null,
    pools: pools.map((name) => ({
      name,
      busy: count(name, "total") - count(name, "idle"),
      max: count(name, "max"),
      waiting: count(name, "waiting"),
    })),
  };
}

interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** Samples of Prometheus' text format; the API's label values hold no quotes. */
export function parseMetrics(text: string): Sample[] {
  return text.split("\n").flatMap((line): Sample[] => {
    const [, name, labels, value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name === undefined) return [];
    const pairs = [...(labels ?? "").matchAll(/(\w+)="([^"]*)"/g)];
    return [
      {
        name,
        labels: Object.fromEntries(pairs.map(([, key, content]) => [key ?? "", content ?? ""])),
        value: Number(value),
      },
    ];
  });
}
