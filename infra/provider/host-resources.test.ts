import { hostCases } from "./testing/host-cases.ts";

for (const one of hostCases) one.describe();
