import * as grpc from "@grpc/grpc-js";
import engineGrpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import engine from "@pulumi/pulumi/proto/engine_pb.js";
import plugin from "@pulumi/pulumi/proto/plugin_pb.js";
import providerGrpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import protocol from "@pulumi/pulumi/proto/provider_pb.js";
import emptyMessage from "google-protobuf/google/protobuf/empty_pb.js";
import structMessage, { type Struct } from "google-protobuf/google/protobuf/struct_pb.js";
import { CtmError, messageOf } from "#system";
import {
  differences,
  propertyPath,
  unknownValue,
  type AnyResourceType,
  type Context,
  type Properties,
} from "./resource-type.ts";
import { secretNames, unwrap, wrapSecrets } from "./secrets.ts";

/*
 * The provider side of Pulumi's gRPC protocol. The SDK has a server of its own, which answers no
 * detailed diff and no preview: with it a drifted file shows as a changed resource and everything
 * that depends on it as unknown. See docs/decisions/0002-provider-protocol.md.
 */

/** What a provider offers to the engine. */
export interface ServedPackage {
  name: string;
  version: string;
  types: readonly AnyResourceType[];
  /** Whether a resource is deleted before its replacement is made, where the program says nothing. */
  deleteBeforeReplace: boolean;
  /** Takes the provider's own inputs, before any resource is looked at. */
  configure?: (inputs: Properties) => void;
  /** Data sources by token. */
  functions?: Readonly<Record<string, (inputs: Properties) => Promise<Properties>>>;
}

/** Serves a package to the engine at `engineAddress`; returns the port it listens on. */
export async function serve(
  { name, version, types, deleteBeforeReplace, configure, functions = {} }: ServedPackage,
  engineAddress: string | undefined,
): Promise<number> {
  const byToken = new Map(
    types.flatMap((type) =>
      [type.token, ...(type.formerTokens ?? [])].map((token) => [token, type] as const),
    ),
  );
  const log = engineLog(engineAddress);
  const typeOf = (urn: string): AnyResourceType => {
    const token = tokenOf(urn);
    const type = byToken.get(token);
    if (type === undefined) throw new Error(`the ${name} provider has no resource type ${token}`);
    return type;
  };
  const contextOf = (urn: string): Context => ({ report: (line) => log(urn, line) });

  const unary =
    <Request, Response>(answer: (request: Request) => Response | Promise<Response>) =>
    (
      call: grpc.ServerUnaryCall<Request, Response>,
      callback: grpc.sendUnaryData<Response>,
    ): void => {
      Promise.resolve()
        .then(() => answer(call.request))
        .then(
          (response) => callback(null, response),
          (error: unknown) => callback({ code: grpc.status.UNKNOWN, details: textOf(error) }, null),
        );
    };

  const unimplemented: grpc.handleUnaryCall<unknown, unknown> = (_call, callback) =>
    callback(
      { code: grpc.status.UNIMPLEMENTED, details: `not part of the ${name} provider` },
      null,
    );
  const implementation: grpc.UntypedServiceImplementation = Object.fromEntries(
    Object.keys(providerGrpc.ResourceProviderService).map((method) => [method, unimplemented]),
  );

  Object.assign(implementation, {
    getPluginInfo: unary(() => {
      const response = new plugin.PluginInfo();
      response.setVersion(version);
      return response;
    }),
    attach: unary(() => new emptyMessage.Empty()),
    cancel: unary(() => new emptyMessage.Empty()),
    getSchema: unary(() => {
      const response = new protocol.GetSchemaResponse();
      response.setSchema(JSON.stringify({ name, version }));
      return response;
    }),
    checkConfig: unary((request: InstanceType<typeof protocol.CheckRequest>) => {
      const response = new protocol.CheckResponse();
      response.setInputs(request.getNews());
      return response;
    }),
    diffConfig: unary(() => {
      const response = new protocol.DiffResponse();
      response.setChanges(protocol.DiffResponse.DiffChanges.DIFF_NONE);
      return response;
    }),
    configure: unary((request: InstanceType<typeof protocol.ConfigureRequest>) => {
      configure?.(plain(request.getArgs()));
      const response = new protocol.ConfigureResponse();
      response.setAcceptsecrets(true);
      response.setSupportspreview(true);
      response.setAcceptresources(false);
      response.setAcceptoutputs(false);
      return response;
    }),
    invoke: unary(async (request: InstanceType<typeof protocol.InvokeRequest>) => {
      const answer = functions[request.getTok()];
      if (answer === undefined) {
        throw new Error(`the ${name} provider has no function ${request.getTok()}`);
      }
      const response = new protocol.InvokeResponse();
      response.setReturn(struct(await answer(plain(request.getArgs())), []));
      return response;
    }),
    check: unary(async (request: InstanceType<typeof protocol.CheckRequest>) => {
      const type = typeOf(request.getUrn());
      const inputs = plain(request.getNews());
      const response = new protocol.CheckResponse();
      response.setInputs(request.getNews());
      const isNew = Object.keys(plain(request.getOlds())).length === 0;
      const problems = [
        ...problemsOf(type, inputs),
        ...(isNew ? await refusalOf(type, inputs) : []),
      ];
      for (const { path, reason } of problems) {
        const failure = new protocol.CheckFailure();
        failure.setProperty(propertyPath(path));
        failure.setReason(reason);
        response.addFailures(failure);
      }
      return response;
    }),
    diff: unary((request: InstanceType<typeof protocol.DiffRequest>) => {
      const type = typeOf(request.getUrn());
      const found = plain(request.getOlds());
      const wanted = plain(request.getNews());
      const response = new protocol.DiffResponse();
      const replaced = new Set<string>();
      let changes = false;
      for (const key of Object.keys(wanted)) {
        if (type.ignoredInDiff?.includes(key)) continue;
        for (const { path, kind } of differences(found[key], wanted[key], key)) {
          changes = true;
          const replace = type.replacedBy.includes(key);
          if (replace) replaced.add(key);
          const difference = new protocol.PropertyDiff();
          difference.setKind(kindOf(kind, replace));
          response.getDetaileddiffMap().set(path, difference);
          response.addDiffs(key);
        }
      }
      response.setHasdetaileddiff(true);
      response.setReplacesList([...replaced]);
      response.setDeletebeforereplace(deleteBeforeReplace && replaced.size > 0);
      response.setChanges(
        changes
          ? protocol.DiffResponse.DiffChanges.DIFF_SOME
          : protocol.DiffResponse.DiffChanges.DIFF_NONE,
      );
      return response;
    }),
    create: unary(async (request: InstanceType<typeof protocol.CreateRequest>) => {
      const type = typeOf(request.getUrn());
      const inputs = plain(request.getProperties());
      const secrets = secretsOf(type, request.getProperties());
      const response = new protocol.CreateResponse();
      if (request.getPreview()) {
        response.setProperties(struct(inputs, secrets));
        return response;
      }
      const made = await type.create(type.inputs.parse(inputs), contextOf(request.getUrn()));
      response.setId(made.id);
      response.setProperties(struct(made.outputs, secrets));
      return response;
    }),
    read: unary(async (request: InstanceType<typeof protocol.ReadRequest>) => {
      const type = typeOf(request.getUrn());
      const found = await type.read(request.getId(), plain(request.getProperties()));
      const response = new protocol.ReadResponse();
      if (found === undefined) return response;
      const secrets = secretsOf(type, request.getProperties(), request.getInputs());
      response.setId(request.getId());
      response.setProperties(struct(found, secrets));
      const names = Object.keys(plain(request.getInputs()));
      const inputs = Object.fromEntries(
        Object.entries(found).filter(([key]) => names.includes(key)),
      );
      response.setInputs(struct(inputs, secrets));
      return response;
    }),
    update: unary(async (request: InstanceType<typeof protocol.UpdateRequest>) => {
      const type = typeOf(request.getUrn());
      const state = plain(request.getOlds());
      const inputs = plain(request.getNews());
      const response = new protocol.UpdateResponse();
      const outputs = request.getPreview()
        ? ((await type.foresee?.(state, inputs)) ?? { ...state, ...inputs })
        : await type.update(
            request.getId(),
            state,
            type.inputs.parse(inputs),
            contextOf(request.getUrn()),
          );
      response.setProperties(struct(outputs, secretsOf(type, request.getNews())));
      return response;
    }),
    delete: unary(async (request: InstanceType<typeof protocol.DeleteRequest>) => {
      const type = typeOf(request.getUrn());
      await type.delete(
        request.getId(),
        plain(request.getProperties()),
        contextOf(request.getUrn()),
      );
      return new emptyMessage.Empty();
    }),
  });

  const server = new grpc.Server({ "grpc.max_receive_message_length": 400 * 1024 * 1024 });
  server.addService(providerGrpc.ResourceProviderService, implementation);
  return await new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(port);
      else reject(error);
    });
  });
}

/** `urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME` holds the type after the last `$`. */
export function tokenOf(urn: string): string {
  return urn.split("::")[2]?.split("$").at(-1) ?? "";
}

function plain(message: Struct | undefined): Properties {
  const value = unwrap(message?.toJavaScript() ?? {});
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a Struct is always an object
  return value as Properties;
}

/** What to wrap: the type's own secrets, and whatever the program handed over as one. */
function secretsOf(type: AnyResourceType, ...messages: (Struct | undefined)[]): string[] {
  return [
    ...type.secrets,
    ...messages.flatMap((message) => secretNames(message?.toJavaScript() ?? {})),
  ];
}

function struct(properties: Properties, secrets: readonly string[]): Struct {
  const wrapped: unknown = JSON.parse(JSON.stringify(wrapSecrets(properties, secrets)));
  return structMessage.Struct.fromJavaScript(
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- JSON is what a Struct holds
    wrapped as Parameters<typeof Struct.fromJavaScript>[0],
  );
}

interface InputProblem {
  path: readonly PropertyKey[];
  reason: string;
}

/** Why a new resource may not be made; inputs that a preview does not know yet are asked later. */
async function refusalOf(type: AnyResourceType, inputs: Properties): Promise<InputProblem[]> {
  const known = type.inputs.safeParse(inputs);
  if (!known.success) return [];
  const refusal = await type.refuse?.(known.data);
  return refusal === undefined ? [] : [{ path: [refusal.property], reason: refusal.reason }];
}

/** Everything that is wrong with the inputs, but for what a preview cannot know yet. */
function problemsOf(type: AnyResourceType, inputs: Properties): InputProblem[] {
  const checked = type.inputs.safeParse(inputs);
  if (checked.success) return [];
  return checked.error.issues
    .flatMap((issue) =>
      issue.code === "unrecognized_keys"
        ? issue.keys.map((key) => ({
            path: [...issue.path, key],
            reason: `${type.token} has no input of this name`,
          }))
        : [{ path: issue.path, reason: issue.message }],
    )
    .filter(({ path }) => !containsUnknown(valueAt(inputs, path)));
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let current = value;
  for (const key of path) {
    if (typeof current !== "object" || current === null) return current;
    current = Reflect.get(current, key);
  }
  return current;
}

function containsUnknown(value: unknown): boolean {
  if (value === unknownValue) return true;
  return typeof value === "object" && value !== null && Object.values(value).some(containsUnknown);
}

function kindOf(
  kind: "add" | "delete" | "update",
  replace: boolean,
): InstanceType<typeof protocol.PropertyDiff>["getKind"] extends () => infer Kind ? Kind : never {
  const kinds = protocol.PropertyDiff.Kind;
  switch (kind) {
    case "add":
      return replace ? kinds.ADD_REPLACE : kinds.ADD;
    case "delete":
      return replace ? kinds.DELETE_REPLACE : kinds.DELETE;
    case "update":
      return replace ? kinds.UPDATE_REPLACE : kinds.UPDATE;
  }
}

/** A person's mistake needs no stack trace; a defect of ours does. */
function textOf(error: unknown): string {
  if (error instanceof CtmError) return error.text;
  return error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
}

function engineLog(address: string | undefined): (urn: string, line: string) => void {
  if (address === undefined) return () => undefined;
  const client = new engineGrpc.EngineClient(address, grpc.credentials.createInsecure());
  return (urn, line) => {
    const request = new engine.LogRequest();
    request.setSeverity(engine.LogSeverity.INFO);
    request.setMessage(line);
    request.setUrn(urn);
    // Losing a progress line must not fail the operation that it reports on.
    client.log(request, () => undefined);
  };
}
