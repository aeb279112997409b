import { afterAll } from "vitest";
import { sqlCases, stopSharedServer } from "./testing/sql-cases.ts";

afterAll(stopSharedServer);

for (const one of sqlCases) one.describe();
