/** One thing that a lint found: in a file's text or history, or in the catalog that the files make. */
export interface LintFinding {
  /** "squawk" reads the SQL, "git" its history; "catalog" looks at the schema itself. */
  tool: "squawk" | "git" | "catalog";
  rule: string;
  level: "error" | "warning";
  /** The object in the catalog; null for a finding in text. */
  object: string | null;
  /** The file to look at; null when it cannot be told. */
  file: string | null;
  /** Counted from 1. */
  line: number | null;
  message: string;
  /** What to do about it; null when the message says it. */
  help: string | null;
}

/** A finding in the form that editors and CI make links of: `file:line: level: message (rule)`. */
export function describeFinding(finding: LintFinding): string {
  const { file, line, level, message, rule, help } = finding;
  const at = file === null ? "" : `${file}${line === null ? "" : `:${line}`}: `;
  return `${at}${level}: ${message} (${rule})${help === null ? "" : `\n  ${help}`}`;
}

/** A finding that is accepted, with the reason. */
export interface LintException {
  rule: string;
  /** The object as findings name it; `*` stands for any letters, digits and underscores. */
  object: string;
  reason: string;
}
