// The machine underneath: errors, users, subprocesses, files and waiting, used by all folders.
export { CtmError, messageOf } from "./error.ts";
export {
  exists,
  isMissing,
  makeDirectory,
  readDirectoryIfExists,
  readFileIfExists,
  systemErrorCode,
  writeFileAtomic,
  type Identity,
} from "./files.ts";
export { parseJson } from "./json.ts";
export { findIdentity, identityOf, isRoot, runAs } from "./identity.ts";
export { run, type Finished, type RunOptions } from "./run.ts";
export { waitFor } from "./wait-for.ts";
