import * as pulumi from "@pulumi/pulumi";
import { R2Bucket } from "@pulumi/cloudflare/r2bucket.js";
import { R2BucketLifecycle } from "@pulumi/cloudflare/r2bucketLifecycle.js";
import { R2BucketLock } from "@pulumi/cloudflare/r2bucketLock.js";
import type { CloudflareSettings } from "./settings.ts";

export interface BucketArguments {
  accountId: string;
  settings: NonNullable<CloudflareSettings["bucket"]>;
}

const daySeconds = 86_400;

/** Where the far copy of the backups goes: nobody can delete what is young, old copies go. */
export class Bucket extends pulumi.ComponentResource {
  constructor(
    name: string,
    { accountId, settings }: BucketArguments,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:cloudflare:Bucket", name, {}, options);
    const bucket = new R2Bucket(
      "bucket",
      { accountId, name: settings.name, location: settings.location, storageClass: "Standard" },
      // Its loss would be that of the far copy.
      { parent: this, protect: true },
    );
    const rules = { accountId, bucketName: bucket.name };
    new R2BucketLock(
      "lock",
      {
        ...rules,
        rules: [
          {
            id: "keep",
            enabled: true,
            prefix: "",
            condition: { type: "Age", maxAgeSeconds: settings.lockDays * daySeconds },
          },
        ],
      },
      { parent: this },
    );
    new R2BucketLifecycle(
      "lifecycle",
      {
        ...rules,
        rules: [
          {
            id: "expire",
            enabled: true,
            conditions: { prefix: "" },
            deleteObjectsTransition: {
              condition: { type: "Age", maxAge: settings.deleteAfterDays * daySeconds },
            },
          },
        ],
      },
      { parent: this },
    );
    this.registerOutputs({});
  }
}
