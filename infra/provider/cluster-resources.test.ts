import { clusterCases } from "./testing/cluster-cases.ts";

for (const one of clusterCases) one.describe();
