// What a stack is on this machine: its paths, its descriptor, its credentials.
export { credentialPath, readCredential, type CredentialName } from "./credentials.ts";
export {
  firstBackupPolicy,
  parseDescriptor,
  readDescriptor,
  readDescriptorIfExists,
  type Descriptor,
  type MemberDescriptor,
  type ServiceDescriptor,
} from "./descriptor.ts";
export { authorityFiles, backendFiles, dataMark, farFiles, type FarFiles } from "./files.ts";
export { endRemoval, keepSchema, keptPath, type Keep } from "./kept.ts";
export { cacheRoot, homeRoots, sharedCacheRoot, stackPaths, type StackPaths } from "./paths.ts";
export { readOwn } from "./read-own.ts";
