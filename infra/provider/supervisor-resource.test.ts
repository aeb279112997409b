import { supervisorCase } from "./testing/supervised-cases.ts";

supervisorCase.describe();
