import { tlsCases } from "./testing/tls-cases.ts";

for (const one of tlsCases) one.describe();
