import * as pulumi from "@pulumi/pulumi";
import { beforeAll, expect, test } from "vitest";
import { stackPaths } from "#stack";
import { parseConfiguration } from "../config.ts";
import { LocalRuntime } from "../runtime/local/local-runtime.ts";
import { topologyOf } from "../topology.ts";
import { Connector } from "./connector.ts";
import { leastSettings } from "./testing/example-settings.ts";

const token = "the tunnel's token";
const made: { type: string; name: string; inputs: Record<string, unknown> }[] = [];

beforeAll(async () => {
  await pulumi.runtime.setMocks({
    newResource: ({ type, name, inputs, id }) => {
      made.push({ type, name, inputs });
      return {
        id: id ?? name,
        state: type === "ctm:host:Ports" ? { ...inputs, ports: { cloudflared: 20_241 } } : inputs,
      };
    },
    call: ({ inputs }) => inputs,
  });
  const paths = stackPaths("local", { CTM_HOME: "/h" });
  const users = { postgres: "postgres", service: "ctm" };
  const topology = topologyOf(
    parseConfiguration({
      "ctm:cloudflare": JSON.stringify(leastSettings),
      "ctm:cloudflareToken": "t".repeat(40),
    }),
    paths,
    users,
  );
  const runtime = new LocalRuntime("local", {
    paths,
    users,
    packages: [],
    ports: topology.ports,
    runtimeDirectories: [],
    atBoot: false,
  });
  new Connector("connector", {
    topology,
    users,
    runtime,
    executable: "/usr/bin/cloudflared",
    token: pulumi.secret(token),
    after: [],
  });
  await pulumi.runtime.disconnect();
});

function service(): Record<string, unknown> {
  const found = made.find(({ type }) => type === "ctm:local:Service");
  if (found === undefined) throw new Error("no service was made");
  return found.inputs;
}

test("cloudflared is told the file of its token, never the token", () => {
  expect(service()["program"]).toContain(
    "command=/usr/bin/cloudflared tunnel --config /h/local/cloudflared/config.yml --metrics 127.0.0.1:20241 --grace-period 10s run --token-file /h/local/cloudflared/token\n",
  );
  const { secretFiles, ...others } = service();
  expect(JSON.stringify(others)).not.toContain(token);
  expect(secretFiles).toEqual({
    [pulumi.runtime.specialSigKey]: pulumi.runtime.specialSecretSig,
    value: { "/h/local/cloudflared/token": { content: `${token}\n`, mode: "0600", owner: "ctm" } },
  });
});

test("it counts as started once it is connected to Cloudflare", () => {
  expect(service()["readiness"]).toEqual({
    kind: "http",
    host: "127.0.0.1",
    port: 20_241,
    path: "/ready",
    authority: null,
  });
});
