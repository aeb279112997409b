import {
  and,
  any,
  bytes,
  concatenated,
  contains,
  each,
  equals,
  lower,
  matches,
  not,
  or,
  urlDecode,
  wildcard,
  type Condition,
  type Term,
} from "./language/build.ts";

/** Spaces, and what stands for them: comments, opening brackets, signs. */
const gap = String.raw`(?:[\s(+!~@-]|/\*[^*]*\*/)*`;
/** Of PostgreSQL: backticks are quotes in other databases, and code in what people write. */
const quote = `['"]`;
const conjunction = String.raw`(?:\b(?:and|or|xor|having|where|when|not)\b|\|\||&&)`;
const comparison = String.raw`(?:=|<|>|!=|\b(?:r?like|regexp|between)\b|\bin\b\s*\(|\bis\b\s+(?:not\s+)?null)`;
/** An operand that a sentence would not have there. */
const constant = `(?:\\d+|\\w+\\(\\)|${quote}[^'"\`]*${quote})`;
const calls = String.raw`\b(?:sleep\s*\(\s*\d+\s*\)|pg_sleep|benchmark\s*\(\s*\d|waitfor\s+delay|extractvalue\s*\(|updatexml\s*\(|load_file\s*\(|randomblob\s*\(|xp_\w+|sp_password|gtid_subset\s*\(|json_keys\s*\(\s*\(|make_set\s*\(|elt\s*\(\s*\d|regexp_substring\s*\(|crypt_key\s*\(|utl_(?:http|inaddr)|dbms_\w+\.|user_lock\.|ctxsys\.|raise_error\s*\(|information_schema\.|sysibm\.|sysmaster:|sysusers\b|all_users\b|domain\.domains|rdb\$|procedure\s+analyse|exec\s+(?:master|xp|sp)\b|generate_series\s*\(\s*1\s*,|exp\s*\(\s*~|iif\s*\(\s*\d|case\s+(?:when\s*\()?\s*\(?\d+)|@@\w+`;
const statement = String.raw`(?:select\W*(?:\(|\*|\d|'|"|\w+\s*(?:,|\(|from\b))|insert\s+into|update\s+\w+\s+set|delete\s+from|drop\s+(?:table|database|schema|user|view)|alter\s+(?:table|user)|create\s+(?:table|user|or\s+replace|function)|declare\s+@|exec\b|execute\b|waitfor\b|call\s+\w+\s*\(|begin\s+\w+\.|shutdown\b|truncate\s+table|if\s*\()`;
const union = String.raw`\bunion(?:\W|/\*[^/]*\*/)+(?:(?:all|distinct)\W+)?select\W+(?:all\W+)?(?:null|\d|\*|'|"|@|char|concat|case|\w+\s*(?:,|\(|from\b|#|--|$))`;
const subselect = String.raw`\(\s*select\b[\s(]*(?:\*|\d|'|"|@|null\b|case\b|distinct\b|top\s|\w+\s*\(|\w+\s+(?:from|where|union|into)\b)`;

/**
 * What tells an injection from text about SQL: it leaves a literal, compares constants, stacks a
 * statement, or calls what only attackers call. Input is in small letters and fully decoded.
 */
const sqlPatterns: readonly string[] = [
  // ' or 'a'='a: a quote is closed, and a condition follows.
  `${quote}[\\s)\\]]*${gap}(?:${conjunction}${gap}(?:not\\b${gap})?(?:[\\w'"\`.$@]+\\s*(?:${comparison}|\\()|select\\b|exists\\b|\\d+\\s*(?:--|#))|union\\W+(?:all\\W+)?select\\b)`,
  // or 1=1, and (select …)=7: constants are compared.
  `${conjunction}${gap}(?:not\\b${gap})?${constant}[\\s)]*${comparison}${gap}(?:[\\d'"\`(]|\\w+\\()|\\(\\d+=\\d+\\)`,
  // What is selected is no English.
  union,
  // Another statement.
  `;${gap}${statement}`,
  subselect,
  calls,
  // admin'--: the rest of the statement is commented out. A dash in a sentence has more after it.
  `${quote}[\\s)]*;?\\s*(?:(?:--|#)[\\s-]*\\w{0,4}\\s*$|/\\*)`,
  String.raw`\border\s+by\s+\d+\s*(?:--|#|,|$)`,
  // '||(select …, '+'…: an expression is put together.
  `${quote}\\s*(?:\\|\\||[+,-])\\s*\\(?\\s*(?:select|utl_|chr?\\s*\\(|char|cast|concat)|${quote}\\s*(?:\\|\\||[+])\\s*${quote}`,
];

/** `script` is what follows the name of that element. */
const markup = (script: string): string =>
  String.raw`<\s*(?:script[\s/>]${script}|iframe|img\s|svg[\s/]|object\s|embed\s|!doctype|!entity|!\[cdata|\?xml|\?import|xml\s|xss|html\s)|["']\s*>\s*<`;
const climbing = String.raw`^(?:\.\.+[\\/]+){2}|(?:\.\.+[\\/]+){3}|\.\.+[\\/].*(?:etc|boot|win|bin|conf)\b|(?:\.|0x2e){2}(?:[^ -~]|0x)|etc[\\/]+(?:passwd|shadow|hosts|group)|(?:boot|win)\.ini|\b[cd]:[\\/](?:boot|inetpub|win)`;

/** As above, but no path of a file of a project. */
const deepClimbing = String.raw`(?:\.\.+[\\/]+){4}|(?:\.|0x2e){2}(?:[^ -~]|0x)|etc[\\/]+(?:passwd|shadow|hosts)|(?:boot|win)\.ini|(?:\.\\+){4}|(?:\./){8}`;

/** Scripts, markup, other people's files, commands. */
const otherPatterns: readonly string[] = [
  `${markup(String.raw`[^<]*[('"=;]`)}|</script`,
  String.raw`(?:java|vb)\s*script\s*:|\bon(?:error|load|click|mouseover|focus)\s*=|\balert\s*\(|document\.(?:cookie|location)|fromcharcode`,
  String.raw`&#(?:x[0-9a-f]{2,8}|\d{2,8})|\\(?:x|u00)[0-9a-f]{2}|&(?:lt|gt|quot|apos)\b`,
  // Bytes that UTF-8 never has, and wide dots and slashes, are there to hide something.
  String.raw`${climbing}|\x00|\xc0|\xc1|\xef\xbc(?:\x8e|\x8f)|^(?:\\0+)+$`,
  String.raw`\(\|\(|[\r\n]\s*[\w-]+:\s|(?:%[\d.]*x\|?){3}|[<>"'%;)(&+]{2,}["'][<>"'%;)(&+]{2,}`,
];

/** In parameters only: a browser in Indonesian says "; id;" too. */
const commands =
  "(?:[;|&]|^`)\\s*/?(?:bin/)?(?:id|ls|dir|cat|read|netstat|whoami|uname|nslookup|wget|ping)\\b\\s*(?:[;|&`/-]|$)|\\$\\(\\s*\\w+\\s+\\d";

/** A parameter of signs alone asks for nothing. */
const signsAlone = String.raw`^[!"$%&'()+,/:;<>?@\[\\\]^\x60{|}]{4,}$`;

/** The values of the query and of the headers, as an attacker's text would finally be read. */
const values = lower(
  urlDecode(concatenated("http.request.uri.args.values", "http.request.headers.values")),
);

export function isSqlInjection(patterns: boolean): Condition {
  if (patterns) return matchesOne(values, sqlPatterns);
  const shapes = tellingShapes.map((shape) => any(wildcard(values, shape)));
  return or(containsOne(values, tellingTexts), ...shapes);
}

export function isOtherInjection(): Condition {
  const parameters = lower(urlDecode(each("http.request.uri.args.values")));
  return or(matchesOne(values, otherPatterns), matchesOne(parameters, [commands, signsAlone]));
}

/**
 * In a body (Enterprise). Descriptions of tasks hold SQL and code, so that only the beginning of a
 * value tells: an injection begins by leaving the literal that it was put into.
 */
const start = String.raw`[:\[,]\s*"`;
/** At most so much text stands before what tells. */
const near = `${start}(?:[^"\\\\]|\\\\.){0,80}?`;
const lead = `${start}[\\w.%@-]{0,24}`;
const jsonQuote = String.raw`(?:'|\x60|\\"|\\u002[27]|\\u0060)`;
const jsonConstant = `(?:\\d+|\\w+\\(\\)|${jsonQuote}[^"'\\\\]*${jsonQuote})`;
const rareCalls = String.raw`(?:benchmark\s*\(\s*\d{4}|waitfor\s+delay|extractvalue\s*\(\s*\d|updatexml\s*\(\s*\d|randomblob\s*\(\s*\d|xp_cmdshell|xp_regread|gtid_subset\s*\(\s*concat|json_keys\s*\(\s*\(\s*select|make_set\s*\(\s*\d|elt\s*\(\s*\d|regexp_substring\s*\(\s*repeat|crypt_key\s*\(|utl_(?:http|inaddr)|dbms_(?:pipe|lock|utility)\.|user_lock\.|ctxsys\.|raise_error\s*\(\s*'|sysmaster:|sysibm\.systables\s+as|all_users\s+t|rdb\$fields|information_schema\.columns\s+a\b|procedure\s+analyse|exp\s*\(\s*~|iif\s*\(\s*\d|case\s+(?:when\s*\(\s*)?\d{2,}|(?:select|and|or|rlike)[\s(]+(?:pg_)?sleep\s*\()`;

const bodyPatterns: readonly string[] = [
  // No serialiser writes letters, digits or spaces as escapes.
  String.raw`\\u00(?:20|3[0-9]|[46][1-9a-f]|[57][0-9a])`,
  `${near}${conjunction}${gap}(?:not\\b${gap})?${jsonConstant}[\\s)]*${comparison}${gap}(?:\\d|${jsonQuote}|\\(|\\w+\\()`,
  `${near}${rareCalls}`,
  `${lead}${jsonQuote}[\\s)\\]]*(?:${gap}${conjunction}${gap}(?:not\\b${gap})?(?:[\\w.$@]+\\s*(?:${comparison}|\\(|$)|${jsonConstant}|select\\b|exists\\b)|${gap}(?:union\\b|order\\s+by\\s+\\d|as\\s+\\w+\\s+where\\b|in\\s+boolean\\b|\\(?select\\b|procedure\\b)|[;,]\\s*\\(?\\s*${statement}|;?\\s*(?:--|#|/\\*)(?:[^'\\\\]|$)|\\|\\||[+-]\\s*\\(?(?:select|chr?\\())`,
  `${lead}[\\s)\\]]*(?:${union}|[;,+|&-]+\\s*\\(?\\s*(?:${statement}|select\\b|\\w+\\s*\\(\\s*(?:select|concat|'))|(?:as\\s+\\w+\\s+)?where\\s+\\d|\\(\\s*(?:${subselect}|case\\b|convert\\(int|\\d+=\\d+))`,
  `${start}-?\\d+\\s+(?:select|begin)\\b`,
];

const bodyOtherPatterns: readonly string[] = [
  `${start}[^"\\\\<]{0,12}(?:\\\\"|[^"\\\\<])?[^"\\\\<]{0,4}(?:${markup(String.raw`[^<"]*[('=;]`)}|<+\\s*/?(?:script|img|xss|xml|iframe)\\b[^"]{8})`,
  `${start}[^"]{0,40}(?:alert\\s*\\(|(?:java|vb)script:|fromcharcode|document\\.cookie|&#(?:x[0-9a-f]+|\\d{2,8})|<!entity)`,
  `${start}[^"\\w]{0,4}&(?:lt|gt|quot|apos)\\b|${start}\\\\\\\\(?:x[0-9a-f]{2}|0|")|${start}\\\\*[|;\x60&]\\s*/?(?:bin/)?(?:id|ls|dir|cat|read|netstat)\\b`,
  `${start}[^"\\s]*(?:${deepClimbing})`,
  `${start}[^"]{0,24}(?:%2e%|%25|%00|%c[01]|\\.\\.%|\\.\\.\\\\\\\\|\\x00|\\xc0|\\xc1|\\xef\\xbc)`,
];

export function isInjectionInBody(): Condition {
  // There SQL is what is asked for, by an administrator; it reads as a role that may only read.
  const isQuery = equals(bytes("raw.http.request.uri.path"), "/api/database/query");
  return and(not(isQuery), matchesBody(bodyPatterns));
}

export function isOtherInjectionInBody(): Condition {
  return matchesBody(bodyOtherPatterns);
}

function matchesBody([first = "", ...others]: readonly string[]): Condition {
  const body = lower(urlDecode(bytes("http.request.body.raw")));
  return or(matches(body, first), ...others.map((pattern) => matches(body, pattern)));
}

function matchesOne(
  term: Term<"bytes", true>,
  [first = "", ...others]: readonly string[],
): Condition {
  return or(any(matches(term, first)), ...others.map((pattern) => any(matches(term, pattern))));
}

function containsOne(
  term: Term<"bytes", true>,
  [first = "", ...others]: readonly string[],
): Condition {
  return or(any(contains(term, first)), ...others.map((text) => any(contains(term, text))));
}

/** Without patterns: what hardly any ordinary text holds. */
const tellingTexts = [
  " union all select ",
  " union select ",
  " or 1=1",
  " or 0=0",
  " and 1=1",
  "(select ",
  "(case when",
  ";select ",
  "; drop table",
  "sleep(",
  "waitfor delay",
  "benchmark(",
  "make_set(",
  "information_schema",
  "dbms_",
  "xp_",
  "<script>alert",
  "javascript:",
  "../../..",
  String.raw`..\..`,
  "etc/passwd",
  "<!entity",
] as const;

/** The whole value, with anything for a star. */
const tellingShapes = ["*'--", "*' --", "*' or '*'='*", "*' and '*'='*", '*" or "*"="*'] as const;
