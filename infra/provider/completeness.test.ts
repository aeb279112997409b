import { expect, it } from "vitest";
import { clusterCases } from "./testing/cluster-cases.ts";
import { hostCases } from "./testing/host-cases.ts";
import { inputNames } from "./testing/resource-case.ts";
import { sqlCases } from "./testing/sql-cases.ts";
import { serviceCase, supervisorCase } from "./testing/supervised-cases.ts";
import { tlsCases } from "./testing/tls-cases.ts";
import { resourceTypes } from "./types/index.ts";

const cases = [
  ...hostCases,
  ...tlsCases,
  ...sqlCases,
  ...clusterCases,
  supervisorCase,
  serviceCase,
];

it("every resource type has a table, and one only", () => {
  const tabled = cases.map(({ type }) => type.token);
  expect(tabled.toSorted()).toEqual(resourceTypes.map(({ token }) => token).toSorted());
});

it.each(resourceTypes)("every input of $token has a row", (type) => {
  const covered = cases.find((one) => one.type === type)?.covered ?? new Set<string>();
  expect(inputNames(type).filter((name) => !covered.has(name))).toEqual([]);
  // A row of an input that is no more proves nothing.
  expect([...covered].filter((name) => !inputNames(type).includes(name))).toEqual([]);
});

it.each(resourceTypes)("$token is replaced and compared by inputs that it has", (type) => {
  const names = inputNames(type);
  for (const name of [...type.replacedBy, ...(type.ignoredInDiff ?? [])]) {
    expect(names).toContain(name);
  }
});
