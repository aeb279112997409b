// As many no-op resources as the stack has resources, each with one property.
import * as pulumi from "@pulumi/pulumi";

class NoOp extends pulumi.CustomResource {
  constructor(name: string) {
    super("noop:index:NoOp", name, { text: `the text of ${name}` }, { version: "1.0.0" });
  }
}

const count = new pulumi.Config().requireNumber("count");
for (let index = 0; index < count; index += 1) new NoOp(`no-op-${index}`);
