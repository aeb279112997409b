// Where a stack's services run, and starting and stopping them without Pulumi.
export { endProcesses, stackProcesses } from "./local/processes.ts";
export {
  startCluster,
  startStack,
  stopStack,
  waitForLeader,
  type StackOptions,
} from "./local/start-stack.ts";
export {
  programStates,
  startProgram,
  startSupervisord,
  stopProgram,
  supervisordPid,
  type ProgramState,
} from "./local/supervisor.ts";
