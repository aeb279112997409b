import { compileRules } from "../evaluate.ts";
import type { EdgeRequest, Rule } from "../model.ts";
import type { Attack } from "./attacks.ts";
import { exampleKey, requestOf } from "./requests.ts";

/** Where an attack is put; its key is always of the right shape. */
interface Placement {
  name: string;
  part: "path" | "query" | "header" | "body";
  request(payload: string): EdgeRequest;
}

const headers = requestOf().headers;
/** What a header can carry: its value has no line breaks, and other bytes are sent encoded. */
const headerText = (payload: string): string => payload.replaceAll(/[\r\n\0]/g, " ");
const json = (body: object, path = "/api/database/tasks", method = "POST"): EdgeRequest => {
  const text = JSON.stringify(body);
  return requestOf({
    method,
    path,
    body: text,
    headers: {
      ...headers,
      "content-type": "application/json",
      "content-length": String(Buffer.byteLength(text)),
    },
  });
};
const inHeader = (name: string): Placement => ({
  name: `header ${name}`,
  part: "header",
  request: (payload) => requestOf({ headers: { ...headers, [name]: headerText(payload) } }),
});
const inBody = (name: string, place: (payload: string) => EdgeRequest): Placement => ({
  name: `body ${name}`,
  part: "body",
  request: place,
});
/** Payloads come encoded once already, or not; both are sent. */
const encodings: Readonly<Record<string, (payload: string) => string>> = {
  "as it is": (payload) =>
    payload.replaceAll("&", "%26").replaceAll("#", "%23").replaceAll(" ", "%20"),
  "url-encoded": encodeURIComponent,
  "twice url-encoded": (payload) => encodeURIComponent(encodeURIComponent(payload)),
  "with plus signs": (payload) => encodeURIComponent(payload).replaceAll("%20", "+"),
  "with %u escapes": (payload) =>
    payload.replaceAll(/[^\w]/g, (sign) => `%u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`),
};

export const placements: readonly Placement[] = [
  {
    name: "path",
    part: "path",
    request: (payload) => requestOf({ path: `/api/database/tasks/${encodeURI(payload)}` }),
  },
  ...Object.entries(encodings).map(([name, encode]): Placement => ({
    name: `query search, ${name}`,
    part: "query",
    request: (payload) => requestOf({ query: `search=${encode(payload)}` }),
  })),
  {
    name: "query page",
    part: "query",
    request: (payload) => requestOf({ query: `page=${encodeURIComponent(payload)}` }),
  },
  inHeader("user-agent"),
  inHeader("referer"),
  inHeader("cookie"),
  inHeader("x-forwarded-for"),
  {
    name: "header x-api-key",
    part: "header",
    request: (payload) =>
      requestOf({ headers: { ...headers, "x-api-key": `${exampleKey}${headerText(payload)}` } }),
  },
  inBody("title", (title) => json({ title })),
  inBody("description", (description) => json({ title: "Review", description })),
  inBody("assigned_to", (name) => json({ title: "Review", assigned_to: name })),
  inBody("metadata", (value) => json({ title: "Review", metadata: { deep: [value] } })),
  inBody("notes", (notes) =>
    json(
      { status: "completed", notes },
      "/api/database/tasks/0af76519-16cd-43dd-8448-eb211c80319c/status",
      "PATCH",
    ),
  ),
];

export interface Measured {
  placement: Placement;
  sent: number;
  blocked: number;
  missed: Attack[];
}

/** Sends each attack at each placement that it belongs to. */
export function measureAttacks(rules: readonly Rule[], attacks: readonly Attack[]): Measured[] {
  const decide = compileRules(rules);
  return placements.map((placement) => {
    const fitting = attacks.filter(({ kind }) => kind !== "path" || placement.part === "path");
    const missed = fitting.filter(
      ({ payload }) => decide(placement.request(payload)).action === "allow",
    );
    return { placement, sent: fitting.length, blocked: fitting.length - missed.length, missed };
  });
}
