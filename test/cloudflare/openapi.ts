import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv, type AnySchema, type ValidateFunction } from "ajv";

/** The published description, as far as this file reads it. */
interface Description {
  paths: Record<string, Record<string, { requestBody?: RequestBody }>>;
  components: { schemas: Record<string, unknown>; requestBodies: Record<string, RequestBody> };
}

interface RequestBody {
  $ref?: string;
  content?: Record<string, { schema: unknown }>;
}

/**
 * What the description asks of clients and the API does not: ids and versions that the API itself
 * gives, and a hostname for the last rule of a tunnel, which has to match everything.
 */
const notAsked = new Set(["id", "version", "last_updated"]);

/** Checks request bodies against the API description that Cloudflare publishes. */
export class ApiDescription {
  readonly #validators = new Map<string, ValidateFunction>();
  readonly #patterns: { method: string; pattern: RegExp; key: string }[] = [];

  constructor() {
    const text = readFileSync(join(import.meta.dirname, "openapi.json"), "utf8");
    const description = JSON.parse(text) as Description;
    const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
    ajv.addSchema(relaxed(description) as AnySchema, "api");
    for (const [path, operations] of Object.entries(description.paths)) {
      const pattern = new RegExp(`^${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`);
      for (const [method, { requestBody }] of Object.entries(operations)) {
        const key = `${method.toUpperCase()} ${path}`;
        this.#patterns.push({ method: method.toUpperCase(), pattern, key });
        const schema = schemaOf(description, path, method, requestBody);
        if (schema !== undefined) this.#validators.set(key, ajv.compile({ $ref: schema }));
      }
    }
  }

  /** The described operation of a request, such as "PUT /zones/{zone_id}/…"; undefined if none. */
  operationOf(method: string, path: string): string | undefined {
    return this.#patterns.find((each) => each.method === method && each.pattern.test(path))?.key;
  }

  /** What is wrong with a request's body; empty when it is as described. */
  problemsOf(method: string, path: string, body: unknown): string[] {
    const operation = this.operationOf(method, path);
    if (operation === undefined) return [`${method} ${path} is not described`];
    const validate = this.#validators.get(operation);
    if (validate === undefined) {
      return body === undefined ? [] : [`${operation} takes no body`];
    }
    if (validate(body)) return [];
    return (validate.errors ?? []).map(
      ({ instancePath, message }) => `${operation}: body${instancePath} ${message ?? "is wrong"}`,
    );
  }
}

/** Where the schema of a body stands; Ajv resolves the references in it. */
function schemaOf(
  description: Description,
  path: string,
  method: string,
  body: RequestBody | undefined,
): string | undefined {
  if (body === undefined) return undefined;
  // Its alternatives accept nearly anything together; every application of ours is of this kind.
  if (body.content?.["application/json"] !== undefined && /\/access\/apps/.test(path)) {
    const { anyOf } = description.components.schemas["access_app_request"] as {
      anyOf: { title?: string }[];
    };
    const index = anyOf.findIndex(({ title }) => title === "Self Hosted Application");
    return `api#/components/schemas/access_app_request/anyOf/${index}`;
  }
  const place =
    body.$ref ??
    `#/paths/${path.replaceAll("~", "~0").replaceAll("/", "~1")}/${method}/requestBody`;
  const content = body.$ref === undefined ? body.content : bodyAt(description, body.$ref).content;
  if (content?.["application/json"] === undefined) return undefined;
  return `api${encodeURI(place)}/content/application~1json/schema`;
}

function bodyAt({ components }: Description, reference: string): RequestBody {
  const found = components.requestBodies[reference.split("/").at(-1) ?? ""];
  if (found === undefined) throw new Error(`${reference} is not in the description`);
  return found;
}

/** The description with `required` cut to what the API really asks. */
function relaxed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(relaxed);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, relaxed(item)] as const);
  const copy: Record<string, unknown> = Object.fromEntries(entries);
  const { required, properties } = copy;
  if (Array.isArray(required)) {
    const isIngress = hasKey(properties, "service") && hasKey(properties, "hostname");
    copy["required"] = required.filter(
      (name) =>
        !notAsked.has(String(name)) &&
        !isReadOnly(properties, String(name)) &&
        !(isIngress && name === "hostname"),
    );
  }
  return copy;
}

function hasKey(value: unknown, key: string): boolean {
  return typeof value === "object" && value !== null && key in value;
}

function isReadOnly(properties: unknown, name: string): boolean {
  if (typeof properties !== "object" || properties === null) return false;
  const property: unknown = Reflect.get(properties, name);
  return (
    typeof property === "object" && property !== null && Reflect.get(property, "readOnly") === true
  );
}
