/** A table by its plain names: case and blanks as they are, nothing quoted. */
export interface TableName {
  schema: string;
  name: string;
}

const part = '"(?:[^"]|"")+"|[^".]+';
const form = new RegExp(`^(?:(${part})\\.)?(${part})$`);

/**
 * Reads TABLE, of the schema public, or SCHEMA.TABLE; each as the catalog has it (`Old Tasks`), or
 * in SQL's quotes (`"Old Tasks"`), which a name with a dot or a quote needs. Undefined for what is no
 * such name.
 */
export function readTableName(text: string): TableName | undefined {
  const [, schema, name] = form.exec(text.trim()) ?? [];
  return name === undefined
    ? undefined
    : { schema: schema === undefined ? "public" : plain(schema), name: plain(name) };
}

function plain(written: string): string {
  return written.startsWith('"') ? written.slice(1, -1).replaceAll('""', '"') : written;
}
