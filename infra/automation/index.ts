// Driving the Pulumi CLI: environment, locks, recovery, plan, and the runs themselves.
export {
  forgetSalt,
  keepConfiguration,
  openWorkspace,
  ownBackend,
  type Workspace,
} from "./environment.ts";
export { takeTurn } from "./locks.ts";
export { recoverPendingOperations } from "./pending-operations.ts";
export { previewSteps, type Step } from "./preview.ts";
export { pulumi, showPulumi } from "./pulumi.ts";
export { checkHome, hasResources, selectStack } from "./stack.ts";
