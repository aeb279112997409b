import { readDescriptor, stackPaths, type Descriptor, type StackPaths } from "#stack";
import type { Context } from "./command.ts";

/** A stack that exists here: all that on-call commands start from. */
export interface Stack {
  paths: StackPaths;
  descriptor: Descriptor;
}

/** @throws CtmError `bad-stack-name`, `no-such-stack`, `descriptor-unreadable`, `no-permission` */
export async function openStack(context: Pick<Context, "stack" | "env">): Promise<Stack> {
  const paths = stackPaths(context.stack, context.env);
  return { paths, descriptor: await readDescriptor(context.stack, paths) };
}
