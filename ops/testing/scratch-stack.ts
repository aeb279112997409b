import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { Server as Socket } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { firstBackupPolicy, stackPaths, type Descriptor } from "#stack";
import { identityOf, isRoot, makeDirectory, run, runAs } from "#system";
import { freePort } from "../../infra/runtime/testing/free-port.ts";

/** A stack for tests of on-call commands: one real server, a Patroni that says what it is told. */
export interface ScratchStack {
  /** Environment with which a command finds it. */
  env: NodeJS.ProcessEnv;
  home: string;
  descriptor: Descriptor;
  /** Superuser's SQL on the real server; returns unaligned rows. */
  sql(text: string, database?: string): Promise<string>;
  /** What the members' Patroni answers, by path; a missing path is 404, null drops the connection. */
  patroni: Record<string, Record<string, unknown> | null>;
  /** Writes the descriptor anew after a change. */
  save(): Promise<void>;
  stop(): Promise<void>;
}

const binaries = "/usr/lib/postgresql/15/bin";
const owner = isRoot() ? "postgres" : userInfo().username;
const loginRoles = [
  "ctm_migrator",
  "ctm_api",
  "ctm_query",
  "ctm_monitor",
  "ctm_replicator",
  "ctm_backup",
] as const;

/** Starts the server, archiving into a repository, and writes what `up` would. */
export async function startScratchStack(): Promise<ScratchStack> {
  const home = await mkdtemp("/tmp/ctm-ops-");
  await chmod(home, 0o755);
  const env = { ...process.env, CTM_HOME: home };
  const paths = stackPaths("local", env);
  const identity = isRoot() ? await identityOf(owner) : undefined;
  const ownedByPostgres = { mode: 0o700, owner: identity };
  const asPostgres = await runAs(owner);

  const data = join(paths.state, "data");
  const sockets = join(paths.run, "node-1");
  const { repository } = paths;
  const backrestConfiguration = join(paths.state, "pgbackrest.conf");
  for (const directory of [
    data,
    sockets,
    repository,
    join(paths.run, "lock"),
    join(paths.run, "spool"),
  ]) {
    await makeDirectory(directory, ownedByPostgres);
  }
  await makeDirectory(paths.credentials, { mode: 0o700 });
  await makeDirectory(paths.tls, { mode: 0o755 });
  await makeDirectory(paths.log, { mode: 0o755 });
  await makeDirectory(join(paths.log, "pgbackrest"), ownedByPostgres);

  // One self-signed certificate is CA, server, Patroni and the superuser at once.
  const authority = join(paths.tls, "ca.crt");
  const key = join(paths.tls, "server.key");
  await run(
    "openssl",
    `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=postgres -addext subjectAltName=IP:127.0.0.1 -keyout ${key} -out ${authority}`.split(
      " ",
    ),
  );
  await run("install", ["-m", "600", "-o", owner, key, join(paths.run, "server.key")]);

  const port = await freePort();
  await run(
    `${binaries}/initdb`,
    [
      ..."-U postgres -N -E UTF8 --locale=C.UTF-8 --auth-local=peer --auth-host=reject -D".split(
        " ",
      ),
      data,
    ],
    { ...asPostgres, cwd: "/" },
  );
  const stanza = "scratch";
  await writeFile(
    backrestConfiguration,
    `[global]
repo1-path=${repository}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=scratch
repo1-bundle=y
compress-type=zst
start-fast=y
log-path=${join(paths.log, "pgbackrest")}
lock-path=${join(paths.run, "lock")}
spool-path=${join(paths.run, "spool")}

[${stanza}]
pg1-path=${data}
pg1-socket-path=${sockets}
pg1-port=${port}
`,
  );
  const configuration = `
listen_addresses = '127.0.0.1'
port = ${port}
unix_socket_directories = '${sockets}'
ssl = on
ssl_cert_file = '${authority}'
ssl_ca_file = '${authority}'
ssl_key_file = '${join(paths.run, "server.key")}'
fsync = off
archive_mode = on
archive_timeout = 60s
archive_command = 'pgbackrest --config=${backrestConfiguration} --stanza=${stanza} archive-push %p'
`;
  await writeFile(join(data, "postgresql.conf"), configuration, { flag: "a" });
  await writeFile(join(data, "pg_ident.conf"), `scratch ${owner} postgres\n`, { flag: "a" });
  await writeFile(
    join(data, "pg_hba.conf"),
    "local all postgres peer map=scratch\nlocal replication postgres peer map=scratch\nhostssl all postgres 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
  );
  await run(
    `${binaries}/pg_ctl`,
    ["-D", data, "-w", "-l", join(paths.log, "pgbackrest", "postgres.log"), "start"],
    {
      ...asPostgres,
      cwd: "/",
    },
  );
  const sql = async (text: string, database = "postgres"): Promise<string> => {
    const { stdout } = await run(
      `${binaries}/psql`,
      [
        "-X",
        "-A",
        "-t",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        sockets,
        "-p",
        String(port),
        "-U",
        "postgres",
        "-d",
        database,
      ],
      { ...asPostgres, cwd: "/", input: text },
    );
    return stdout.trim();
  };
  await sql("CREATE DATABASE taskmaster");
  await sql(
    await readFile(new URL("../../database/roles.sql", import.meta.url), "utf8"),
    "taskmaster",
  );
  await sql(
    loginRoles.map((role) => `ALTER ROLE ${role} PASSWORD 'password of ${role}';`).join("\n"),
  );
  for (const role of loginRoles) {
    await writeFile(join(paths.credentials, role), `password of ${role}\n`, { mode: 0o600 });
  }
  await writeFile(
    join(paths.credentials, "pgpass"),
    loginRoles.map((role) => `127.0.0.1:*:*:${role}:password of ${role}\n`).join(""),
    { mode: 0o600 },
  );
  await run(
    "pgbackrest",
    [`--config=${backrestConfiguration}`, `--stanza=${stanza}`, "stanza-create"],
    {
      ...asPostgres,
      cwd: "/",
    },
  );

  const patroni: ScratchStack["patroni"] = {};
  const server: Server = createServer(
    { key: await readFile(key), cert: await readFile(authority) },
    (request, response) => {
      const answer = patroni[request.url ?? ""];
      if (answer === null) return void request.socket.destroy();
      response.writeHead(answer === undefined ? 404 : 200);
      response.end(JSON.stringify(answer ?? {}));
    },
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const rest = { host: "127.0.0.1", port: portOf(server) };

  const descriptor: Descriptor = {
    format: 1,
    stack: "local",
    runtime: "local",
    users: { postgres: owner, service: userInfo().username },
    postgres: {
      version: 15,
      binaries,
      cluster: "scratch",
      database: "taskmaster",
      owner: "ctm_owner",
      migrator: "ctm_migrator",
      members: [
        {
          name: "node-1",
          host: "127.0.0.1",
          port,
          rest,
          dataDirectory: data,
          socketDirectory: sockets,
          patroniConfiguration: join(paths.state, "patroni.yml"),
          backrestConfiguration,
        },
      ],
      provisioning: { certificate: authority, key },
      rw: { host: "127.0.0.1", port },
      ro: { host: "127.0.0.1", port },
      synchronous: false,
      settings: "shared_buffers 128MB",
    },
    etcd: [
      {
        name: "etcd",
        client: { host: "127.0.0.1", port: 1 },
        peer: { host: "127.0.0.1", port: 1 },
      },
    ],
    tls: { authority, etcdCertificate: authority, etcdKey: key },
    backup: {
      stanza,
      policy: firstBackupPolicy,
      repositories: [{ name: "near", number: 1, kind: "posix", path: repository }],
    },
    api: { url: "http://127.0.0.1:1", adminUrl: "http://127.0.0.1:1", version: "0.1.0" },
    edge: null,
    supervisor: {
      configuration: join(paths.state, "supervisord.conf"),
      programs: join(paths.state, "programs"),
      socket: join(paths.run, "supervisor.sock"),
      pidFile: join(paths.run, "supervisord.pid"),
      log: join(paths.log, "supervisord.log"),
      stackDirectory: paths.state,
    },
    runtimeDirectories: [],
    services: [{ name: "node-1", kind: "postgres", log: join(paths.log, "node-1.log") }],
  };
  const save = async (): Promise<void> => {
    await writeFile(paths.descriptor, JSON.stringify(descriptor));
  };
  await save();
  return {
    env,
    home,
    descriptor,
    sql,
    patroni,
    save,
    async stop() {
      server.closeAllConnections();
      server.close();
      await run(`${binaries}/pg_ctl`, ["-D", data, "-w", "-m", "immediate", "stop"], {
        ...asPostgres,
        cwd: "/",
        accept: [0, 1],
      });
      await rm(home, { recursive: true, force: true });
    },
  };
}

function portOf(server: Socket): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it does not listen");
  return address.port;
}
