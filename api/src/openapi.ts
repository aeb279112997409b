import type { RouteOptions } from "fastify";
import { documentedPath } from "./server.ts";
import { sharedSchemas } from "./schemas.ts";
import { apiVersion } from "./version.ts";

type Json = { [key: string]: unknown };

/** The OpenAPI 3.1 document of the given routes, made of the schemas that they are checked by. */
export function openApiDocument(routes: readonly RouteOptions[]): object {
  const paths: { [path: string]: Json } = {};
  for (const route of routes) {
    const path = documentedPath(route.url);
    paths[path] = { ...paths[path], [String(route.method).toLowerCase()]: operation(route) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Task manager database API",
      version: apiVersion,
      description:
        "Tasks, metrics and reading queries. Every request needs an API key; the permission admin satisfies all. Unknown keys of a body or query string are errors.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    security: [{ apiKey: [] }, { bearer: [] }],
    paths,
    components: {
      securitySchemes: {
        apiKey: { type: "apiKey", in: "header", name: "X-API-Key" },
        bearer: { type: "http", scheme: "bearer", bearerFormat: "ctm_ and 64 hex digits" },
      },
      schemas: Object.fromEntries(
        sharedSchemas.map(({ $id, ...schema }) => [$id, withLocalReferences(schema)]),
      ),
    },
  };
}

function operation(route: RouteOptions): Json {
  const { operationId, summary, querystring, params, body, response } = route.schema ?? {};
  const access = route.config?.access ?? "any key";
  const parameters = [...parametersOf(params, "path"), ...parametersOf(querystring, "query")];
  return {
    operationId,
    summary,
    description: access === "any key" ? "For any key." : `Needs the permission ${access}.`,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: content(withLocalReferences(body)) } }),
    responses: Object.fromEntries(
      entriesOf(response).map(([status, schema]) => {
        const { description, ...rest } = objectOf(schema);
        return [status, { description, content: content(withLocalReferences(rest)) }];
      }),
    ),
  };
}

function parametersOf(schema: unknown, where: "path" | "query"): Json[] {
  const { properties, required } = objectOf(schema);
  return entriesOf(properties).map(([name, property]) => {
    const { description, ...rest } = objectOf(property);
    return {
      name,
      in: where,
      required: Array.isArray(required) && required.includes(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

function content(schema: unknown): Json {
  return { "application/json": { schema } };
}

/** Fastify writes `Task#` for what OpenAPI calls `#/components/schemas/Task`. */
function withLocalReferences(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withLocalReferences);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, entry]) =>
      name === "$ref" && typeof entry === "string"
        ? [name, `#/components/schemas/${entry.replace(/#$/, "")}`]
        : [name, withLocalReferences(entry)],
    ),
  );
}

function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function entriesOf(value: unknown): [string, unknown][] {
  return Object.entries(objectOf(value));
}
