// Loaded before the program (node --import). The SDK shows every error with
// util.inspect(error, { colors: true }), and its own source maps name files such as
// node_modules/@pulumi/resource.ts, over which Node's colouring loops until it has filled 4 GB:
// 12 seconds for each error (https://github.com/nodejs/node/issues/64011, not yet in Node 22.23).
// Without colours the path is never searched.
import util from "node:util";

util.inspect = new Proxy(util.inspect, {
  apply(inspect, self, [value, options, ...rest]: unknown[]) {
    const plain = value instanceof Error && typeof options === "object";
    return Reflect.apply(inspect, self, [
      value,
      plain ? { ...options, colors: false } : options,
      ...rest,
    ]);
  },
});
