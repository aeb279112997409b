// Getting Node, the Pulumi CLI, its language host and plugins onto a machine.
export type { PluginName } from "./artifacts.ts";
export { prepareEngine, type Engine, type PrepareOptions } from "./prepare.ts";
export { everybodyCanRun, serviceNode } from "./service-node.ts";
