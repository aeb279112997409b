import * as grpc from "@grpc/grpc-js";
import providerGrpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import protocol from "@pulumi/pulumi/proto/provider_pb.js";
import structMessage, { type Struct } from "google-protobuf/google/protobuf/struct_pb.js";
import type { AnyResourceType, Properties } from "../resource-type.ts";
import { serve, type ServedPackage } from "../server.ts";

/** What a diff says: the kind of each property path, and what makes a new resource of it. */
export interface FoundDiff {
  changes: boolean;
  paths: Record<string, "add" | "update" | "delete">;
  /** Paths whose change replaces the resource. */
  replacing: string[];
  replaces: string[];
  deleteBeforeReplace: boolean;
}

/**
 * The engine's side of the provider protocol. Properties go in and come out as they travel, secrets
 * wrapped.
 */
export class ProviderClient {
  readonly #client: InstanceType<typeof providerGrpc.ResourceProviderClient>;

  private constructor(port: number) {
    this.#client = new providerGrpc.ResourceProviderClient(
      `127.0.0.1:${port}`,
      grpc.credentials.createInsecure(),
    );
  }

  /** Serves the types as the plugin does, and connects to them. */
  static async serving(
    types: readonly AnyResourceType[],
    engineAddress?: string,
  ): Promise<ProviderClient> {
    return await ProviderClient.of(
      { name: "ctm", version: "0.0.0", types, deleteBeforeReplace: true },
      engineAddress,
    );
  }

  /** As `serving`, for another package than ours. */
  static async of(served: ServedPackage, engineAddress?: string): Promise<ProviderClient> {
    return new ProviderClient(await serve(served, engineAddress));
  }

  /** Hands over the provider's own inputs. */
  async configure(inputs: Properties): Promise<void> {
    const request = new protocol.ConfigureRequest();
    request.setArgs(struct(inputs));
    await answer((callback) => this.#client.configure(request, callback));
  }

  /** Calls a data source. */
  async invoke(token: string, inputs: Properties): Promise<Properties> {
    const request = new protocol.InvokeRequest();
    request.setTok(token);
    request.setArgs(struct(inputs));
    const response = await answer<InstanceType<typeof protocol.InvokeResponse>>((callback) =>
      this.#client.invoke(request, callback),
    );
    return plain(response.getReturn());
  }

  /** @param old inputs of the state; none for a new resource */
  async check(
    token: string,
    inputs: Properties,
    old: Properties = {},
  ): Promise<{ property: string; reason: string }[]> {
    const request = new protocol.CheckRequest();
    request.setUrn(urnOf(token));
    request.setOlds(struct(old));
    request.setNews(struct(inputs));
    const response = await answer<InstanceType<typeof protocol.CheckResponse>>((callback) =>
      this.#client.check(request, callback),
    );
    return response
      .getFailuresList()
      .map((failure) => ({ property: failure.getProperty(), reason: failure.getReason() }));
  }

  async create(
    token: string,
    inputs: Properties,
    options: { preview?: boolean } = {},
  ): Promise<{ id: string; state: Properties }> {
    const request = new protocol.CreateRequest();
    request.setUrn(urnOf(token));
    request.setProperties(struct(inputs));
    request.setPreview(options.preview ?? false);
    const response = await answer<InstanceType<typeof protocol.CreateResponse>>((callback) =>
      this.#client.create(request, callback),
    );
    return { id: response.getId(), state: plain(response.getProperties()) };
  }

  /** Undefined when the resource is gone. */
  async read(
    token: string,
    id: string,
    state: Properties,
    inputs: Properties,
  ): Promise<{ state: Properties; inputs: Properties } | undefined> {
    const request = new protocol.ReadRequest();
    request.setUrn(urnOf(token));
    request.setId(id);
    request.setProperties(struct(state));
    request.setInputs(struct(inputs));
    const response = await answer<InstanceType<typeof protocol.ReadResponse>>((callback) =>
      this.#client.read(request, callback),
    );
    if (response.getId() === "") return undefined;
    return { state: plain(response.getProperties()), inputs: plain(response.getInputs()) };
  }

  async diff(token: string, id: string, state: Properties, inputs: Properties): Promise<FoundDiff> {
    const request = new protocol.DiffRequest();
    request.setUrn(urnOf(token));
    request.setId(id);
    request.setOlds(struct(state));
    request.setNews(struct(inputs));
    const response = await answer<InstanceType<typeof protocol.DiffResponse>>((callback) =>
      this.#client.diff(request, callback),
    );
    const found: FoundDiff = {
      changes: response.getChanges() === protocol.DiffResponse.DiffChanges.DIFF_SOME,
      paths: {},
      replacing: [],
      replaces: response.getReplacesList(),
      deleteBeforeReplace: response.getDeletebeforereplace(),
    };
    response.getDetaileddiffMap().forEach((difference, path) => {
      const { kind, replace } = kinds[difference.getKind()];
      found.paths[path] = kind;
      if (replace) found.replacing.push(path);
    });
    return found;
  }

  async update(
    token: string,
    id: string,
    state: Properties,
    inputs: Properties,
    options: { preview?: boolean } = {},
  ): Promise<Properties> {
    const request = new protocol.UpdateRequest();
    request.setUrn(urnOf(token));
    request.setId(id);
    request.setOlds(struct(state));
    request.setNews(struct(inputs));
    request.setPreview(options.preview ?? false);
    const response = await answer<InstanceType<typeof protocol.UpdateResponse>>((callback) =>
      this.#client.update(request, callback),
    );
    return plain(response.getProperties());
  }

  async delete(token: string, id: string, state: Properties): Promise<void> {
    const request = new protocol.DeleteRequest();
    request.setUrn(urnOf(token));
    request.setId(id);
    request.setProperties(struct(state));
    await answer((callback) => this.#client.delete(request, callback));
  }

  close(): void {
    this.#client.close();
  }
}

const kinds = [
  { kind: "add", replace: false },
  { kind: "add", replace: true },
  { kind: "delete", replace: false },
  { kind: "delete", replace: true },
  { kind: "update", replace: false },
  { kind: "update", replace: true },
] as const;

function urnOf(token: string): string {
  return `urn:pulumi:stack::ctm::ctm:some:Parent$${token}::name`;
}

async function answer<Response>(
  call: (callback: (error: Error | null, response: Response) => void) => unknown,
): Promise<Response> {
  return await new Promise((resolve, reject) => {
    call((error, response) => {
      if (error === null) resolve(response);
      else reject(error);
    });
  });
}

function struct(properties: Properties): Struct {
  return structMessage.Struct.fromJavaScript(
    // Undefined is no value of a Struct.
    JSON.parse(JSON.stringify(properties)) as Parameters<typeof Struct.fromJavaScript>[0],
  );
}

function plain(message: Struct | undefined): Properties {
  return message?.toJavaScript() ?? {};
}
