import { supervisedCases } from "./testing/supervised-cases.ts";

for (const one of supervisedCases) one.describe();
