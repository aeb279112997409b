import { Command as Parser, Help, Option } from "commander";
import { z } from "zod";
import { flagName, type Command } from "./command.ts";

/** A parser with the command's flags and arguments; it neither prints nor exits. */
export function createParser(name: string, command: Command): Parser {
  const parser = new Parser(`ctm ${name}`)
    .description(command.help)
    .exitOverride()
    .configureOutput({ writeOut: () => undefined, writeErr: () => undefined })
    .helpOption(false)
    .allowExcessArguments(true);
  for (const [key, parameter] of Object.entries(command.arguments)) {
    const shown = (parameter.placeholder ?? key) + (parameter.repeatable ? "..." : "");
    // Missing ones are reported with everything else that is wrong, so none is required here.
    parser.argument(`[${shown}]`, parameter.help);
  }
  for (const [key, parameter] of Object.entries(command.flags)) {
    const typed = flagName(key);
    const option = new Option(
      parameter.placeholder === undefined ? typed : `${typed} <${parameter.placeholder}>`,
      `${parameter.help}${parameter.required ? " (required)" : ""}${parameter.repeatable ? " (repeatable)" : ""}`,
    );
    parser.addOption(collecting(option));
  }
  if (command.destructive) parser.addOption(collecting(new Option("--yes", "do not ask")));
  parser.addOption(
    collecting(new Option("--stack <NAME>", "which stack (default $CTM_STACK, else local)")),
  );
  parser.addOption(
    collecting(
      new Option("--json", "one JSON document on standard output, and nothing else there"),
    ),
  );
  parser.addOption(collecting(new Option("--help", "this text")));
  return parser;
}

/** The whole help of one command. */
export function commandHelp(parser: Parser, command: Command): string {
  const help = new Help();
  help.helpWidth = 100;
  help.visibleCommands = () => [];
  return [
    help.formatHelp(parser, help).trimEnd(),
    "",
    command.examples.length === 1 ? "Example:" : "Examples:",
    ...command.examples.map(({ run, does }) => `  # ${does}\n  ${run}`),
    "",
    "JSON:",
    indent(shapeOf(z.toJSONSchema(command.document, { unrepresentable: "any", io: "output" }))),
  ].join("\n");
}

/** Keeps every text given for an option, in order; one without a value counts as "true". */
function collecting(option: Option): Option {
  return option.argParser(append);
}

function append(text: string | undefined, before: unknown): string[] {
  return [...(Array.isArray(before) ? before.map(String) : []), text ?? "true"];
}

/** A JSON schema as a person would sketch it: `{ id: string, gaps: null | [string] }`. */
function shapeOf(schema: z.core.JSONSchema._JSONSchema): string {
  if (typeof schema === "boolean") return "anything";
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) {
    return schema.enum.map((word) => JSON.stringify(word)).join(" | ");
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return choices.map((each) => shapeOf(each)).join(" | ");
  if (schema.items !== undefined && !Array.isArray(schema.items)) {
    return `[${shapeOf(schema.items)}]`;
  }
  if (typeof schema.additionalProperties === "object") {
    return `{ [name: string]: ${shapeOf(schema.additionalProperties)} }`;
  }
  if (schema.properties === undefined) return [schema.type ?? "anything"].flat().join(" | ");
  const fields = Object.entries(schema.properties).map(
    ([name, field]) => `${name}: ${shapeOf(field)}`,
  );
  const flat = `{ ${fields.join(", ")} }`;
  return flat.length <= 90 && !flat.includes("\n") ? flat : `{\n${indent(fields.join(",\n"))}\n}`;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, "  ");
}
