// Pulumi's language host for Node.js, where the official one cannot be had: the engine starts it,
// reads a port from the first line of its output, and asks it over gRPC to run the program.
//
// The engine holds our standard input open for as long as it lives; its end is how we learn of the
// engine's death, however it died, and take the program with us.
import grpc from "@grpc/grpc-js";
import sdk from "@pulumi/pulumi/package.json" with { type: "json" };
import languageService from "@pulumi/pulumi/proto/language_grpc_pb.js";
import language from "@pulumi/pulumi/proto/language_pb.js";
import plugin from "@pulumi/pulumi/proto/plugin_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import { type ProgramResult, Program } from "./program.ts";

/** As the official host: the state of a large stack travels in one message. */
const longestMessageBytes = 400 * 1024 * 1024;

// The engine passes flags of its own before the address.
const engineAddress = process.argv.slice(2).findLast((argument) => /:\d+$/.test(argument)) ?? "";

let running: Program | undefined;

const host = {
  getPluginInfo(_call, callback) {
    const info = new plugin.PluginInfo();
    info.setVersion(sdk.version);
    callback(null, info);
  },

  // The packages a program may use are not the plugins a stack needs: the engine kit has prepared
  // those, and the engine would try to download the others.
  getRequiredPackages(_call, callback) {
    callback(null, new language.GetRequiredPackagesResponse());
  },
  getRequiredPlugins(_call, callback) {
    callback(null, new language.GetRequiredPluginsResponse());
  },

  run(call, callback) {
    let program: Program;
    try {
      program = new Program(call.request, engineAddress);
    } catch (error) {
      callback(null, response({ error: `the program cannot be started: ${String(error)}` }));
      return;
    }
    running = program;
    call.on("cancelled", () => program.stop());
    program.onEnd((result) => {
      running = undefined;
      callback(null, response(result));
    });
  },

  // The engine asks for this on an interrupt, when the operations under way have finished.
  cancel(_call, callback) {
    running?.stop();
    callback(null, new empty.Empty());
  },

  about(_call, callback) {
    const about = new language.AboutResponse();
    about.setExecutable(process.execPath);
    about.setVersion(process.version);
    callback(null, about);
  },
} satisfies Partial<languageService.ILanguageRuntimeServer>;

function response(result: ProgramResult): language.RunResponse {
  const message = new language.RunResponse();
  if (result.error !== undefined) message.setError(result.error);
  if (result.reported === true) message.setBail(true);
  return message;
}

/** Ends with the engine: nothing is worth keeping, and nobody is left to be told. */
function exitWithEngine(): void {
  running?.kill();
  process.exit(0);
}

process.stdin.on("end", exitWithEngine).on("error", exitWithEngine).resume();
process.stdout.on("error", exitWithEngine);
process.on("SIGTERM", exitWithEngine);

const server = new grpc.Server({ "grpc.max_receive_message_length": longestMessageBytes });
// What is missing in `host` is answered as unimplemented, which the engine knows how to take.
server.addService(languageService.LanguageRuntimeService, host);
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) {
    process.stderr.write(`the language host cannot listen: ${error.message}\n`);
    process.exit(1);
  }
  process.stdout.write(`${port}\n`);
});
