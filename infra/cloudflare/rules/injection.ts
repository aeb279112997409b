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
const gap = String.raw`(?:[\s(+!~@-]|/\*[^*]*\*/|(?:--|#)[^\n]*\n)*`;
/** At least one space, or what stands for it between two words. */
const space = String.raw`(?:[\s+]|/\*[^*]*\*/)+`;
/** Of PostgreSQL: backticks are quotes in other databases, and code in what people write. */
const quote = `['"]`;
const conjunction = String.raw`(?:\b(?:and|or|xor|having|where|when|not)\b|\|\||&&)`;
const comparison = String.raw`(?:=|<|>|!=|\b(?:r?like|ilike|glob|regexp|between)\b|\bin\b\s*\(|\bis\b\s+(?:not\s+)?null)`;
/** An operand that a sentence would not have there. */
const constant = `(?:\\d+|\\w+\\(\\)|@@?\\w+|${quote}[^'"\`]*${quote})`;
/** A name, or a quoted value; two quotes around a sign are how people write about that sign. */
const operand = `(?:[\\w\`.$@]*${quote}[^'"]*${quote}|[\\w\`.$@]+${quote}?)`;
const calls = String.raw`\b(?:benchmark\s*\(\s*\d+\s*,|waitfor\s+delay|extractvalue\s*\(|updatexml\s*\(|load_file\s*\(\s*(?:['"]|0x|cha?r)|randomblob\s*\(|xp_\w+\s*['(]|exec(?:ute)?\s+[\w.]*xp_|sp_password\s*$|gtid_subset\s*\(|json_keys\s*\(\s*\(|make_set\s*\(|elt\s*\(\s*\d|regexp_substring\s*(?:/\*[^*]*\*/)?\(|crypt_key\s*\(|utl_(?:http|inaddr)|dbms_\w+\.\w+\s*\(|user_lock\.|ctxsys\.|raise_error\s*\(|from[\s(]+(?:information_schema|sysusers|all_users)\b|sysibm\.|sysmaster:|domain\.domains|rdb\$|procedure\s+analyse|exec\s+(?:master|xp|sp)\b|generate_series\s*\(\s*1\s*,|exp\s*\(\s*~|iif\s*\(\s*(?:binary\s)?\s*\d|case\s+when\W*\d+\s*[=<>]|case\s*\(?\d+\s+when|dblink\s*\(|lo_(?:import|export|get)\s*\(|pg_read_file|copy\s+\w+\s+(?:from|to)\s+program)|@@(?:version|hostname|datadir|servername|global|basedir)|\b(?:current_user|password|version\(\))\s*::\s*\w`;
/** Waits, not what people write of flaky tests: they stand in an expression, or alone. */
const waits = String.raw`(?:[;,'")|&=/+-]|\b(?:select|and|or|xor|rlike|not|then|else|union|in|from)\b)${gap}(?:pg_)?sleep(?:\s|/\*[^*]*\*/)*\(${gap}['"\d]|^(?:pg_)?sleep\s*\(\s*\d+\s*\)\s*(?:$|[^\s\w])`;
/** Columns of a table, not "one from the list". */
const columns = String.raw`[\w,.]+\s+from\s+(?:\w+\.\w|information_schema|pg_|sys|users?\b|dual\b|mysql|admin|accounts\b|\w+\s*(?:;|--|#|where\b|limit\b|order\s+by\b|union\b))`;
const statement = `(?:select\\W*(?:\\(|\\*|\\d|'|"|@|null\\b|case\\s+when|\\w+\\s*\\(|${columns})|insert${space}into${space}\\w+\\W*(?:\\(|values|select)|update${space}\\w+${space}set${space}\\w+\\s*=|delete${space}from${space}\\w+\\s*(?:$|;|--|#|where)|drop${space}(?:table|database|schema|user|view)${space}[\\w."]+\\s*(?:$|[;#-]|/\\*|cascade)|alter${space}(?:table|user)${space}\\w+${space}(?:add|drop|rename|with|alter)|create${space}(?:table|user|or${space}replace|function)${space}|replace${space}\\w+\\W*\\(|declare${space}@|exec(?:ute)?(?:\\s*[('"@]|\\s+(?:\\w+\\.|xp_|sp_|immediate|master|\\w+\\s*['"@]))|waitfor\\b|begin\\s+\\w+\\.|shutdown\\W*(?:$|--|with)|truncate${space}table${space}\\w+\\s*(?:$|;|--)|if\\s*\\(+\\s*(?:\\d|'|select|exists|\\w+\\())`;
const union = String.raw`\bunion(?:[^\w,.:;-]|/\*[^/]*\*/|(?:--|#)[^\n]*\n)+(?:(?:all|distinct)(?:\W|(?:--|#)[^\n]*\n)+)?(?:all\W+)?select(?:[^\w]|(?:--|#)[^\n]*\n)+(?:all\W+)?(?:null|\d|\*|'|"|@|char|concat|case\s+when|\w+\s*(?:\(|#|--|from\b)|\w+\s*,\s*\w+\s*(?:,|from\b|#|--|$))`;
const subselect = String.raw`\(\s*select\b[\s(]*(?:\*|\d|'|"|@|null\b|case\s+when|distinct\s+\w+[\s,]+from\b|top\s+\d|\w+\s*\(|${columns})`;

/**
 * What tells an injection from text about SQL: it leaves a literal, compares constants, stacks a
 * statement, or calls what only attackers call. Input is in small letters and fully decoded.
 */
const sqlPatterns: readonly string[] = [
  // ' or 'a'='a: a quote is closed, and a condition follows.
  `${quote}[\\s)\\]]*${gap}(?:${conjunction}${gap}(?:not\\b${gap})?(?:${operand}\\s*(?:${comparison}|\\()|select\\b|exists\\b|\\d+\\s*(?:--|#))|union\\W+(?:all\\W+)?select\\b)`,
  // foo' or 'bar, x' or 1: nothing else is quoted, so the statement's quote ends there.
  `^[^'"]{0,40}${quote}[\\s)]*${gap}(?:x?or|and|\\|\\||&&)${gap}(?:${quote}[^'"]{0,12}|(?:\\d+|true|false)\\s*(?:(?:;|limit|order)\\b.*)?)$`,
  // or 1=1, and (select …)=7: constants are compared.
  `${conjunction}${gap}(?:not\\b${gap})?${constant}[\\s)]*${comparison}${gap}(?:[\\d'"\`(]|\\w+\\()|\\(\\d+=\\d+\\)|\\bbinary\\s+\\d+\\s*=`,
  // What is selected is no English.
  union,
  // admin'--: the rest of the statement is commented out. A dash in a sentence has more after it.
  `\\w${quote}[\\s)]*;?\\s*(?:--[\\s-]*|#\\s*)$|${quote}\\)+;?\\s*(?:--|#)|${quote}[\\s)]*(?:--\\w{0,4}$|/\\*)`,
  String.raw`(?:['")]|\b\d+)\s*order\s+by\s+\d+|\border\s+by\s+\d+\s*(?:--|#)`,
  // '||(select …, '+'…: an expression is put together.
  `${quote}\\s*(?:\\|\\||[+,-])\\s*\\(?\\s*(?:select|utl_|chr?\\s*\\(|char|cast|concat)|${quote}\\s*(?:\\|\\||[+])\\s*${quote}`,
];

/** What runs: another statement, a query within one, what only attackers call. */
const sqlCallPatterns: readonly string[] = [`;${gap}${statement}`, subselect, calls, waits];

/** `script` is what follows the name of that element. */
const markup = (script: string): string =>
  String.raw`<\s*(?:script[\s/>]${script}|iframe[\s/]|(?:object|embed|applet|meta|link|base|svg|image)[\s/]+[\w:-]+\s*=|!doctype\s[^>]*(?:\[|system)|!entity|!\[cdata|\?xml\s|\?import|xml\s|xss|html\s|[a-z]+[\s/][^>]*on[a-z]{3,24}\s*=|[a-z]+\s[^>]*(?:href|src|action)\s*=\W*(?:java|vb|data)\s*(?:script)?\s*:)|["']\s*>\s*<`;

/** Bytes that UTF-8 never has are there to hide something. */
const noUtf8 = String.raw`\x00|\xc0|\xc1|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]|[\xf8-\xff]`;
/** Dots, then what some decoder reads as a slash: a control sign, a torn letter, a wide slash. */
const hiddenSlash = String.raw`(?:\.|0x2e){2}(?:[\x01-\x08\x0e-\x1f\x80-\xbf]|0x|\xef\xbc\x8f|\xe2\x88[\x95\x96]|%)|(?:\xef\xbc\x8e){2}(?:[\\/]|\xef\xbc\x8f)`;
const files = String.raw`etc[\\/]+(?:passwd|shadow|hosts|group|issue|sudoers|services)\s*(?:$|[^\w\s.,:])|[\\/](?:boot|win)\.ini\b|\b[cd]:[\\/]+(?:boot\.ini|inetpub|win\w*[\\/]\S*\.(?:ini|exe))|/proc/self/\w+\s*(?:$|[^\w\s])|web-inf[\\/]|::\$data`;
const climbing = String.raw`^(?:\.\.+[\\/]+)+$|(?:\.\.+[\\/]+){5}|(?:^|[^.])(?:\.\.)+[\\/].*(?:etc|boot|win|bin|conf)\b|${hiddenSlash}|${files}`;

/** As above, but no path of a file of a project. */
const deepClimbing = String.raw`(?:\.\.+[\\/]+){4}|${hiddenSlash}|etc[\\/]+(?:passwd|shadow|hosts)(?:$|[^\w\s.,:])|[\\/](?:boot|win)\.ini|(?:\.\\+){4}|(?:\./){8}`;

/** Scripts, markup, other people's files. */
const otherPatterns: readonly string[] = [
  `${markup(String.raw`[^<]*[('"=;\x60]`)}|</script`,
  String.raw`(?:j\s*a\s*v\s*a|v\s*b)\s*s\s*c\s*r\s*i\s*p\s*t\s*:\S|["'\s/]on[a-z]{3,24}\s*=\s*["'\x60]?\s*(?:\w+\s*[(\x60=\[]|javascript)|["'};=>\x60/-]\s*(?:alert|prompt|confirm)[(\x60]|^(?:alert|prompt|confirm)\s*[(\x60].*[)\x60];?$|["'}=+(,;\x60]\s*document\.(?:cookie|location)|document\.(?:cookie|location)\s*[=)]|fromcharcode\s*\(\s*\d`,
  String.raw`(?:&#x?[0-9a-f]{2,8};?\s*){2}|&#0*60\b|&#x0*3c\b|&(?:lt|gt|quot|apos);?\s*(?:[/<>]|script|img|svg|\w+=|;|$)|^\W{0,2}&(?:lt|gt|quot|apos)\b\S*$|(?:\\(?:x|u00)[0-9a-f]{2}\s*){3}|\\(?:x|u00)(?:3c|3e|22|27)`,
  String.raw`${climbing}|${noUtf8}|^(?:\\0+)+$`,
  String.raw`\(\|\(|\*\)+\(|\)\([\w&|!]+=|[\r\n]\s*(?:set-cookie|location|content-\w+|host|x-[\w-]+|http/\d|cookie|refresh)\b\s*:?|(?:%[\d.]*[xns]\|?){4}|[<>"'%;)(&+]{2,}["'][<>"'%;)(&+]{2,}`,
];

/** After what ends a command, or within what runs one. */
const separator = String.raw`(?:[;|&\n\x60]|\$\()\s*/?(?:usr/)?(?:bin/)?`;
/** Commands, and code for interpreters and templates. */
const codePatterns: readonly string[] = [
  String.raw`${separator}(?:cat|head|tail|type|more|less|nl|tac|ls|rm|cp|dir|find|del)\s+(?:-\w+\s+)*["']?(?:/\w+/|[a-z]:\\|\.\./|%\w+%)|(?:^\s*|${separator})(?:wget|curl|ping|nslookup|dig|nc|ncat|telnet|t?ftp)\s+(?:-\w+\s+(?:\d+\s+)?)*(?:https?://|\d{1,3}(?:\.\d{1,3}){3})|\b(?:ba|z|k|da)?sh\s+-[ic]\s|/dev/tcp/|\(\)\s*\{\s*:|\$\{?ifs\b|/\?{3}/|^\W?[;|&\x60]+\s*/?(?:bin/)?(?:id|ls|dir|cat|read|env|set|whoami|netstat)\b[\s\w/-]*[;|&\x60]?$|^\S+\|(?:id|ls|dir)\|$|\bcmd(?:\.exe)?\s+/c\b|powershell(?:\.exe)?\s+-`,
  String.raw`\$\(\s*(?:id|whoami|uname|cat|curl|wget|nslookup|ping|sleep|ls|env)\b|\x60\s*(?:cat|curl|wget|nslookup|ping|sleep)\s+\S+\s*\x60`,
  String.raw`\$\{\s*(?:jndi:|[^}]*\$\{[^}]*:|(?:lower|upper|sys|ctx):)|\{\{[^}]*(?:\d\s*\*\s*'?\d|__\w+__|\bconfig\b|\bself\.|constructor|\|\s*attr)|[$#@*]\{[^}]{0,9}(?:\d+\s*\*\s*\d+|t\(java|\bnew\s)|<%=?[^%]*(?:\d+\s*\*\s*\d+|system|exec|eval|\x60)|<\?(?:php|=)?\s+[^>]*[;(]|__(?:class|mro|subclasses|globals|builtins)__|__proto__["'\]]*\s*[\[.:=]|constructor\s*[.\[]["']?\s*(?:constructor|prototype)|\brequire\s*\(\s*['"\x60]child_process\b|process\.(?:mainmodule|binding)`,
  String.raw`(?:^|[;"'\x60.{(=])\s*(?:system|passthru|shell_exec|popen|proc_open|phpinfo|eval|assert)\s*\(\s*[^)\s]*[$'"(]|(?:exit|print|die|echo)\W{1,2}md5\s*\(|\b(?:php|phar|expect|gopher|dict|jar|netdoc):/|\bfile:///?(?:etc|proc|c:)|data:(?:text|application)/[^,]*,|//169\.254\.169\.254|java\.lang\.(?:runtime|processbuilder)|getruntime\s*\(|#_memberaccess|classloader\.|[\[{]\s*["']?\$(?:ne|[gl]te?|where|regex|n?in|exists|or)["']?\s*[\]:]|['"]\s*(?:\|\||&&)\s*(?:this\.|['"]?\d['"]?\s*==)`,
];

/** In parameters only: a browser in Indonesian says "; id;" too. */
const commands =
  "(?:[;|&\n]|\\$\\()\\s*/?(?:usr/)?(?:bin/)?(?:id|env|ls(?:\\s+-\\w+)?|dir|whoami|uname(?:\\s+-a)?|ifconfig|ipconfig|netstat(?:\\s+-\\w+)?|systeminfo|nslookup|read|cat|sleep\\s+\\d+|ping\\s+-\\w+(?:\\s+\\d+)?\\s+\\S+)\\s*(?:[;|&`/#\n-]|$)|^`(?:id|ls|whoami|uname -a|dir|env)`$|\\$\\(\\s*\\w+\\s+\\d";

/** A parameter of signs alone asks for nothing. */
const signsAlone = String.raw`^[!"$%&'()+,/:;<>?@\[\\\]^\x60{|}]*["'<>;&|(){}$%][!"$%&'()+,/:;<>?@\[\\\]^\x60{|}]{3,}$`;

/** The values of the query and of the headers, as an attacker's text would finally be read. */
const values = lower(
  urlDecode(concatenated("http.request.uri.args.values", "http.request.headers.values")),
);

export function isSqlInjection(patterns: boolean): Condition {
  if (patterns) return matchesOne(values, sqlPatterns);
  const shapes = tellingShapes.map((shape) => any(wildcard(values, shape)));
  return or(containsOne(values, tellingTexts), ...shapes);
}

export function isSqlCall(): Condition {
  return matchesOne(values, sqlCallPatterns);
}

export function isCodeInjection(): Condition {
  return matchesOne(values, codePatterns);
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
/** As `gap`, with spaces as JSON escapes them. */
const jsonGap = String.raw`(?:[\s(+!~@-]|\\[nrtf]|/\*[^*]*\*/)*`;
const jsonSpace = String.raw`(?:[\s(]|\\[nrtf]|/\*[^*]*\*/)+`;
const jsonQuote = String.raw`(?:'|\x60|\\"|\\u002[27]|\\u0060)`;
const jsonConstant = `(?:\\d+|\\w+\\(\\)|${jsonQuote}[^"'\\\\]*${jsonQuote})`;
const rareCalls = String.raw`(?:benchmark\s*\(\s*\d{4,}\s*,|waitfor\s+delay|extractvalue\s*\(\s*\d|updatexml\s*\(\s*\d|randomblob\s*\(\s*\d|xp_(?:cmdshell|regread|dirtree)\s*['("\\]|gtid_subset\s*\(\s*concat|json_keys\s*\(\s*\(\s*select|make_set\s*\(\s*\d|elt\s*\(\s*\d|regexp_substring\s*\(\s*repeat|crypt_key\s*\(|utl_(?:http|inaddr)|dbms_(?:pipe|lock|utility)\.|user_lock\.|ctxsys\.|raise_error\s*\(\s*'|sysmaster:|sysibm\.systables\s+as|from\s+all_users\s+t|rdb\$fields|information_schema\.columns\s+a\b|procedure\s+analyse|exp\s*\(\s*~|iif\s*\(\s*\d|case\s+when\W*\d{2,}\s*=|case\s*\(?\d{2,}\s+when|(?:select|and|or|rlike)${jsonSpace}(?:pg_)?sleep\s*\()`;

const bodyPatterns: readonly string[] = [
  // No serialiser writes letters, digits or spaces as escapes.
  String.raw`\\u00(?:20|3[0-9]|[46][1-9a-f]|[57][0-9a])`,
  `${near}(?:(?:\\b|\\\\[nrtf])(?:and|or|xor|not)\\b|\\|\\||&&)${jsonGap}(?:not\\b${jsonGap})?${jsonConstant}[\\s)]*${comparison}${jsonGap}(?:\\d|${jsonQuote}|\\(|\\w+\\()`,
  `${lead}${jsonQuote}[\\s)\\]]*(?:${jsonGap}${conjunction}${jsonGap}(?:not\\b${jsonGap})?(?:[\\w.$@]+\\s*(?:${comparison}|\\()|${jsonConstant}[\\s)]*(?:${comparison}|"|--|#|/\\*|;|limit\\b)|${jsonQuote}[^'"\\\\]*"|select\\b|exists\\b)|${jsonGap}(?:union\\W+(?:all\\W+)?select\\b|order\\s+by\\s+\\d|as\\s+\\w+\\s+where\\b|in\\s+boolean\\b|\\(?select\\b|procedure\\b)|[;,]\\s*\\(?\\s*${statement}|;?\\s*(?:--|#|/\\*)(?:[^'\\\\]|$)|\\|\\||[+-]\\s*\\(?(?:select|chr?\\())`,
];

const bodyCallPatterns: readonly string[] = [
  `${near}${rareCalls}`,
  `${lead}[\\s)\\]]*(?:${union}|[;,+|&-]+\\s*\\(?\\s*(?:${statement}|\\w+\\s*\\(\\s*(?:select|concat|'))|(?:as\\s+\\w+\\s+)?where\\W+\\d+\\s*=\\s*\\d|\\(\\s*(?:${subselect}|case\\s+when\\W*\\d|convert\\(int|\\d+=\\d+))`,
  `${start}-?\\d+\\s+(?:select|begin)\\b`,
];

const bodyOtherPatterns: readonly string[] = [
  `${start}[^"\\\\<]{0,12}(?:\\\\"|[^"\\\\<])?[^"\\\\<]{0,4}(?:${markup(String.raw`[^<"]*[('=;]`)}|<+\\s*/?(?:script|xss|xml|iframe|img)\\b[^>"]{2,}[=(\\x60]|<img \\\\")`,
  `${start}(?:[^"\\\\]|\\\\.){0,40}?(?:["'};=>\\x60/-]\\s*(?:alert|prompt|confirm)[(\\x60]|(?:java|vb)\\s*script:\\S|fromcharcode\\s*\\(\\s*\\d|document\\.cookie\\s*[=)]|(?:&#x?[0-9a-f]{2,8};?){2}|&#0*60\\b|&#x0*3c\\b|<!entity)`,
  `${start}[^"\\w]{0,4}&(?:lt|gt|quot|apos);?(?:script|img|[^\\s"]*"|\\s*or\\b|!)|${start}(?:\\\\\\\\(?:x[0-9a-f]{2}|0)[^"\\w]{0,2}){2}|${start}\\\\*&apos;\\S|${start}alert\\([^\\s)]|${start}(?:\\.\\./)+"|${start}\\\\*[|;\x60&]\\s*/?(?:bin/)?(?:id|ls|dir|cat|read|netstat)\\b\\s*(?:["|;&]|/|-)`,
  `${start}[^"\\s]*(?:${deepClimbing})`,
  `${start}[^"]{0,24}(?:%2e%|%25|%00|%c[01]|\\.\\.%|\\$\\(\\s*sleep|\\.\\.\\\\\\\\|${noUtf8})`,
];

/** There SQL is what is asked for, by an administrator; it reads as a role that may only read. */
const isQuery = equals(bytes("raw.http.request.uri.path"), "/api/database/query");

export function isSqlInjectionInBody(): Condition {
  return and(not(isQuery), matchesBody(bodyPatterns));
}

export function isSqlCallInBody(): Condition {
  return and(not(isQuery), matchesBody(bodyCallPatterns));
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
  "union select null",
  " or 1=1",
  " or 0=0",
  " and 1=1",
  "=(select ",
  "|(select ",
  "(select (",
  "(case when",
  ";select ",
  "; drop table",
  "sleep(5",
  "waitfor delay",
  "from information_schema",
  "make_set(",
  "dbms_",
  "xp_",
  "<script>alert",
  "javascript:alert",
  "../../../..",
  String.raw`..\..`,
  "etc/passwd",
  "<!entity",
] as const;

/** The whole value, with anything for a star. */
const tellingShapes = ["*'--", "*' --", "*' or '*'='*", "*' and '*'='*", '*" or "*"="*'] as const;
