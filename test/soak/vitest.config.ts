import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "soak",
    include: ["test/soak/**/*.test.ts"],
    // One at a time: each is about load, and would measure the other's.
    fileParallelism: false,
    // A deadline only catches what hangs.
    testTimeout: 2 * 3_600_000,
    hookTimeout: 3_600_000,
  },
});
