import { once } from "node:events";
import { readdir, rename } from "node:fs/promises";
import { createServer } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { programStates } from "../runtime/local/supervisor.ts";
import { unwrap } from "./secrets.ts";
import { ProviderClient } from "./testing/provider-client.ts";
import {
  endServiceScene,
  served,
  serviceCase,
  serviceInputs,
  serviceScene,
  type ServiceScene,
} from "./testing/supervised-cases.ts";
import { service } from "./types/service.ts";

serviceCase.describe();

describe("a service", () => {
  let client: ProviderClient;
  let scene: ServiceScene;

  beforeEach(async () => {
    client = await ProviderClient.serving([service]);
    scene = await serviceScene();
  });

  afterEach(async () => {
    client.close();
    await endServiceScene(scene);
  });

  it("is changed to the end after an update that was cut off half-way", async () => {
    const inputs = serviceInputs(scene);
    const { id, state } = await client.create(service.token, inputs);
    const [path = ""] = Object.keys(inputs.files);
    const wanted = {
      ...inputs,
      files: { ...inputs.files, [path]: { ...inputs.files[path], content: "changed " } },
    };
    // Its files are written; then supervisord cannot be reached to reload it.
    await rename(scene.paths.socket, `${scene.paths.socket}.away`);
    await expect(client.update(service.token, id, state, wanted)).rejects.toThrow("ENOENT");
    await rename(`${scene.paths.socket}.away`, scene.paths.socket);
    expect(await served(scene)).toMatch(/^one /);

    const found = await client.read(service.token, id, state, inputs);
    expect(unwrap(found?.state["state"])).toBe("change unfinished");
    const diff = await client.diff(service.token, id, found?.state ?? {}, wanted);
    expect(diff.paths).toEqual({ state: "update" });
    const updated = await client.update(service.token, id, found?.state ?? {}, wanted);
    expect(await served(scene)).toMatch(/^changed /);
    const after = await client.read(service.token, id, updated, wanted);
    expect(await client.diff(service.token, id, after?.state ?? {}, wanted)).toMatchObject({
      changes: false,
    });
  });

  it("does not start where another process listens, and says which", async () => {
    const server = createServer();
    server.listen(scene.port, "127.0.0.1");
    await once(server, "listening");
    try {
      await expect(client.create(service.token, serviceInputs(scene))).rejects.toThrow(
        new RegExp(
          `port-taken: web cannot listen on 127.0.0.1:${scene.port}: \\S+ \\(pid ${process.pid}\\) does\n` +
            "next: end that process, or give this stack another port in its configuration",
        ),
      );
      expect(await programStates(scene.paths)).toEqual(new Map());
      expect(await readdir(scene.paths.programs)).toEqual([]);
    } finally {
      server.close();
    }
  });
});
