/** One member as the proxy sees it. */
export interface ProxyMember {
  name: string;
  host: string;
  port: number;
  restPort: number;
}

/**
 * haproxy.cfg: a read-write port that follows the leader and a read-only port that follows the
 * standbys (and falls back to the leader while there is none), by Patroni's health checks over TLS.
 */
export function proxyConfiguration(options: {
  host: string;
  readWritePort: number;
  readOnlyPort: number;
  members: readonly ProxyMember[];
  authority: string;
  statisticsSocket: string;
  maxConnections: number;
}): string {
  const servers = (suffix: string): string =>
    options.members
      .map(
        ({ name, host, port, restPort }) =>
          `    server ${name}${suffix} ${host}:${port} check port ${restPort} check-ssl verify required ca-file ${options.authority}`,
      )
      .join("\n");
  const backend = (name: string, path: string): string => `
backend ${name}
    mode tcp
    option httpchk
    http-check send meth OPTIONS uri ${path}
    http-check expect status 200
    # A member that lost its role keeps no session of that role.
    default-server inter 1s fastinter 500ms downinter 1s fall 2 rise 1 on-marked-down shutdown-sessions
${servers("")}
`;
  return `# Written by ctm: changes here are undone by the next up.
global
    log stdout format raw daemon notice
    maxconn ${options.maxConnections * 2 + 100}
    stats socket ${options.statisticsSocket} mode 600 level admin
    ssl-server-verify required

defaults
    mode tcp
    log global
    option dontlog-normal
    option tcpka
    retries 2
    timeout connect 4s
    timeout client 24h
    timeout server 24h
    timeout check 3s

frontend read_write
    bind ${options.host}:${options.readWritePort}
    default_backend leader

frontend read_only
    bind ${options.host}:${options.readOnlyPort}
    use_backend leader if { nbsrv(standbys) eq 0 }
    default_backend standbys
${backend("leader", "/primary")}${backend("standbys", "/replica?lag=16MB")}`;
}
