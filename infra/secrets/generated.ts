import { readFileIfExists } from "#system";

/** Generated ones have 43 characters; what is shorter was never one of ours. */
const leastCharacters = 41;

/** A secret that this project generated, as its file holds it; undefined for anything else. */
export async function readGenerated(path: string, prefix: string): Promise<string | undefined> {
  const text = (await readFileIfExists(path))?.trimEnd();
  return text?.startsWith(prefix) === true && text.length >= leastCharacters ? text : undefined;
}
