/** etcd's configuration file: clients and peers prove themselves with certificates. */
export function etcdConfiguration(options: {
  name: string;
  host: string;
  clientPort: number;
  peerPort: number;
  dataDirectory: string;
  token: string;
  authority: string;
  certificate: string;
  key: string;
}): string {
  const client = `https://${options.host}:${options.clientPort}`;
  const peer = `https://${options.host}:${options.peerPort}`;
  const security = {
    "client-cert-auth": true,
    "trusted-ca-file": options.authority,
    "cert-file": options.certificate,
    "key-file": options.key,
  };
  const configuration = {
    name: options.name,
    "data-dir": options.dataDirectory,
    "listen-client-urls": client,
    "advertise-client-urls": client,
    "listen-peer-urls": peer,
    "initial-advertise-peer-urls": peer,
    "initial-cluster": `${options.name}=${peer}`,
    "initial-cluster-token": options.token,
    "client-transport-security": security,
    "peer-transport-security": security,
    // Patroni writes every few seconds; without compaction the history grows for ever.
    "auto-compaction-mode": "periodic",
    "auto-compaction-retention": "1h",
    // Patroni speaks to the gateway, which etcd 3.4 leaves off when it reads a file.
    "enable-grpc-gateway": true,
    logger: "zap",
    "log-level": "warn",
  };
  return `${JSON.stringify(configuration, null, 2)}\n`;
}
