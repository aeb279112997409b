import type { Plan } from "../model.ts";
import type { ValueType } from "./types.ts";

/**
 * Fields of the rules language, with the least plan on which a rule may use them. Source: the
 * field reference (https://developers.cloudflare.com/ruleset-engine/rules-language/fields/reference/).
 * Those of Magic Transit are not among them.
 */
const bytesFields = {
  free: [
    "cf.hostname.metadata",
    "cf.random_seed",
    "cf.ray_id",
    "cf.tls_cipher",
    "cf.tls_ciphers_sha1",
    "cf.tls_client_auth.cert_chain_rfc9440",
    "cf.tls_client_auth.cert_fingerprint_sha1",
    "cf.tls_client_auth.cert_fingerprint_sha256",
    "cf.tls_client_auth.cert_issuer_dn",
    "cf.tls_client_auth.cert_issuer_dn_legacy",
    "cf.tls_client_auth.cert_issuer_dn_rfc2253",
    "cf.tls_client_auth.cert_issuer_serial",
    "cf.tls_client_auth.cert_issuer_ski",
    "cf.tls_client_auth.cert_not_after",
    "cf.tls_client_auth.cert_not_before",
    "cf.tls_client_auth.cert_rfc9440",
    "cf.tls_client_auth.cert_serial",
    "cf.tls_client_auth.cert_ski",
    "cf.tls_client_auth.cert_subject_dn",
    "cf.tls_client_auth.cert_subject_dn_legacy",
    "cf.tls_client_auth.cert_subject_dn_rfc2253",
    "cf.tls_client_extensions_sha1",
    "cf.tls_client_extensions_sha1_le",
    "cf.tls_client_random",
    "cf.tls_version",
    "cf.verified_bot_category",
    "cf.worker.upstream_zone",
    "cf.zone.name",
    "cf.zone.plan",
    "http.cookie",
    "http.host",
    "http.referer",
    "http.request.full_uri",
    "http.request.method",
    "http.request.uri",
    "http.request.uri.path",
    "http.request.uri.path.extension",
    "http.request.uri.query",
    "http.request.version",
    "http.user_agent",
    "http.x_forwarded_for",
    "ip.geoip.continent",
    "ip.geoip.country",
    "ip.src.city",
    "ip.src.continent",
    "ip.src.country",
    "ip.src.lat",
    "ip.src.lon",
    "ip.src.metro_code",
    "ip.src.postal_code",
    "ip.src.region",
    "ip.src.region_code",
    "ip.src.timezone.name",
    "raw.http.request.full_uri",
    "raw.http.request.uri",
    "raw.http.request.uri.path",
    "raw.http.request.uri.path.extension",
    "raw.http.request.uri.query",
  ],
  pro: [],
  business: [
    "cf.waf.score.class",
    "ip.geoip.subdivision_1_iso_code",
    "ip.geoip.subdivision_2_iso_code",
    "ip.src.subdivision_1_iso_code",
    "ip.src.subdivision_2_iso_code",
  ],
  enterprise: [
    "cf.bot_management.ja3_hash",
    "cf.bot_management.ja4",
    "http.request.body.mime",
    "http.request.body.raw",
  ],
  response: ["cf.response.error_type", "http.response.content_type.media_type"],
} as const;

const integerFields = {
  free: [
    "cf.edge.l4.delivery_rate",
    "cf.edge.server_port",
    "cf.threat_score",
    "cf.timings.client_quic_rtt_msec",
    "cf.timings.client_tcp_rtt_msec",
    "cf.timings.edge_msec",
    "cf.timings.origin_ttfb_msec",
    "cf.timings.worker_msec",
    "cf.tls_client_hello_length",
    "http.request.timestamp.msec",
    "http.request.timestamp.sec",
    "ip.geoip.asnum",
    "ip.src.asnum",
  ],
  pro: [],
  business: [],
  enterprise: [
    "cf.bot_management.score",
    "cf.llm.prompt.injection_score",
    "cf.llm.prompt.token_count",
    "cf.waf.content_scan.num_malicious_obj",
    "cf.waf.content_scan.num_obj",
    "cf.waf.score",
    "cf.waf.score.rce",
    "cf.waf.score.sqli",
    "cf.waf.score.xss",
    "http.request.body.size",
  ],
  response: ["cf.response.1xxx_code", "http.response.code"],
} as const;

const booleanFields = {
  free: [
    "cf.api_gateway.fallthrough_detected",
    "cf.api_gateway.request_violates_schema",
    "cf.client.bot",
    "cf.edge.client_tcp",
    "cf.tls_client_auth.cert_chain_rfc9440_too_large",
    "cf.tls_client_auth.cert_presented",
    "cf.tls_client_auth.cert_revoked",
    "cf.tls_client_auth.cert_rfc9440_too_large",
    "cf.tls_client_auth.cert_verified",
    "cf.waf.credential_check.password_leaked",
    "http.request.headers.truncated",
    "ssl",
  ],
  pro: ["cf.waf.credential_check.username_and_password_leaked"],
  business: ["ip.geoip.is_in_european_union", "ip.src.is_in_european_union"],
  enterprise: [
    "cf.api_gateway.auth_id_present",
    "cf.bot_management.corporate_proxy",
    "cf.bot_management.js_detection.passed",
    "cf.bot_management.static_resource",
    "cf.bot_management.verified_bot",
    "cf.llm.prompt.detected",
    "cf.llm.prompt.pii_detected",
    "cf.llm.prompt.unsafe_topic_detected",
    "cf.waf.auth_detected",
    "cf.waf.content_scan.has_failed",
    "cf.waf.content_scan.has_malicious_obj",
    "cf.waf.content_scan.has_obj",
    "cf.waf.credential_check.username_leaked",
    "cf.waf.credential_check.username_password_similar",
    "http.request.body.truncated",
  ],
  response: [],
} as const;

const addressFields = {
  free: ["cf.edge.server_ip", "ip.src"],
  pro: [],
  business: [],
  enterprise: [],
  response: [],
} as const;

const listFields = {
  free: [
    "http.request.accepted_languages",
    "http.request.headers.names",
    "http.request.headers.values",
    "http.request.uri.args.names",
    "http.request.uri.args.values",
    "raw.http.request.uri.args.names",
    "raw.http.request.uri.args.values",
  ],
  pro: [],
  business: [],
  enterprise: [
    "cf.llm.prompt.pii_categories",
    "cf.llm.prompt.unsafe_topic_categories",
    "cf.waf.content_scan.obj_results",
    "cf.waf.content_scan.obj_types",
    "http.request.body.form.names",
    "http.request.body.form.values",
    "http.request.body.multipart.values",
    "http.request.jwt.claims.aud.names",
    "http.request.jwt.claims.aud.values",
    "http.request.jwt.claims.iat.sec.names",
    "http.request.jwt.claims.iss.names",
    "http.request.jwt.claims.iss.values",
    "http.request.jwt.claims.jti.names",
    "http.request.jwt.claims.jti.values",
    "http.request.jwt.claims.nbf.sec.names",
    "http.request.jwt.claims.sub.names",
    "http.request.jwt.claims.sub.values",
  ],
  response: [
    "http.response.headers.names",
    "http.response.headers.values",
    "raw.http.response.headers.names",
    "raw.http.response.headers.values",
  ],
} as const;

const mapFields = {
  free: ["http.request.headers", "http.request.uri.args", "raw.http.request.uri.args"],
  pro: ["http.request.cookies"],
  business: [],
  enterprise: [
    "http.request.body.form",
    "http.request.body.multipart",
    "http.request.jwt.claims.aud",
    "http.request.jwt.claims.iss",
    "http.request.jwt.claims.jti",
    "http.request.jwt.claims.sub",
  ],
  response: ["http.response.headers", "raw.http.response.headers"],
} as const;

const integerListFields = {
  free: [],
  pro: [],
  business: [],
  enterprise: [
    "cf.bot_management.detection_ids",
    "cf.waf.content_scan.obj_sizes",
    "http.request.jwt.claims.iat.sec.values",
    "http.request.jwt.claims.nbf.sec.values",
  ],
  response: [],
} as const;

const listOfListsFields = {
  free: [],
  pro: [],
  business: [],
  enterprise: [
    "http.request.body.multipart.content_dispositions",
    "http.request.body.multipart.content_transfer_encodings",
    "http.request.body.multipart.content_types",
    "http.request.body.multipart.filenames",
    "http.request.body.multipart.names",
  ],
  response: [],
} as const;

const integerMapFields = {
  free: [],
  pro: [],
  business: [],
  enterprise: ["cf.llm.prompt.custom_topic_categories"],
  response: [],
} as const;

const integerListMapFields = {
  free: [],
  pro: [],
  business: [],
  enterprise: ["http.request.jwt.claims.iat.sec", "http.request.jwt.claims.nbf.sec"],
  response: [],
} as const;

type Availability = Plan | "response";
type Names = Readonly<Record<Availability, readonly string[]>>;
/** Those that a rule about requests can use. */
type RequestName<Table extends Names> = Table[Plan][number];

export type BytesField = RequestName<typeof bytesFields>;
export type IntegerField = RequestName<typeof integerFields>;
export type AddressField = RequestName<typeof addressFields>;
export type ListField = RequestName<typeof listFields>;
export type MapField = RequestName<typeof mapFields>;

interface Field {
  type: ValueType;
  /** The least plan on which rules may use it; `response` where rules about requests cannot. */
  availability: Availability;
}

function entriesOf(names: Names, type: ValueType): [string, Field][] {
  return (["free", "pro", "business", "enterprise", "response"] as const).flatMap((availability) =>
    names[availability].map((name): [string, Field] => [name, { type, availability }]),
  );
}

export const fields: ReadonlyMap<string, Field> = new Map([
  ...entriesOf(bytesFields, "bytes"),
  ...entriesOf(integerFields, "integer"),
  ...entriesOf(booleanFields, "boolean"),
  ...entriesOf(addressFields, "address"),
  ...entriesOf(listFields, { array: "bytes" }),
  ...entriesOf(mapFields, { map: { array: "bytes" } }),
  ...entriesOf(integerListFields, { array: "integer" }),
  ...entriesOf(listOfListsFields, { array: { array: "bytes" } }),
  ...entriesOf(integerMapFields, { map: "integer" }),
  ...entriesOf(integerListMapFields, { map: { array: "integer" } }),
]);
