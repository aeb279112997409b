import { z } from "zod";
import type { Descriptor } from "#stack";
import { httpGet } from "./https-get.ts";

export interface TunnelFacts {
  /** Connections that cloudflared holds to Cloudflare, four when all is well; null without Cloudflare. */
  connections: number | null;
}

const ready = z.looseObject({ readyConnections: z.int() });

/**
 * The tunnel, as cloudflared's metrics tell.
 *
 * @throws Error when cloudflared does not answer
 */
export async function readTunnel(
  { edge }: Descriptor,
  options: { timeoutMs: number; signal?: AbortSignal },
): Promise<TunnelFacts> {
  if (edge === null) return { connections: null };
  const { host, port } = edge.metrics;
  // 503 without a connection, with the same document.
  const { text } = await httpGet(new URL(`http://${host}:${port}/ready`), options);
  return { connections: ready.parse(JSON.parse(text)).readyConnections };
}
