import type { Pool } from "pg";
import { runStatement } from "../transaction.ts";

/** A check that takes longer counts as failed: whoever asks wants to know now. */
const checkMs = 3000;

/** Whether the pool's server answers a query within three seconds. */
export async function isConnected(pool: Pool): Promise<boolean> {
  const answered = runStatement(
    pool,
    { name: "connected", text: "SELECT 1", values: [] },
    { idempotent: true },
  ).then(
    () => true,
    () => false,
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), checkMs);
  });
  return await Promise.race([answered, late]).finally(() => clearTimeout(timer));
}
