// The machine underneath: errors, subprocesses, files and waiting, used by every other folder.
export { CtmError, messageOf } from "./error.ts";
export {
  exists,
  isMissing,
  makeDirectory,
  readFileIfExists,
  systemErrorCode,
  writeFileAtomic,
  type Identity,
} from "./files.ts";
export { run, type Finished, type RunOptions } from "./run.ts";
export { waitFor } from "./wait-for.ts";
