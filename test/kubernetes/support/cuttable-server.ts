import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';

/** The way to an API server, which a test can cut. */
export interface CuttableServer {
  /** A kubeconfig by which the API server is reached this way. */
  readonly config: KubeConfig;
  /** Ends all connections and refuses new ones, as a server that was stopped. */
  cut(): void;
  /** Passes nothing on any more, and ends nothing, on the connections that are open: a network that lost them. */
  mute(): void;
  restore(): void;
  close(): Promise<void>;
}

export async function cuttableServer(kubeconfig: string): Promise<CuttableServer> {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error('the kubeconfig names no cluster');
  const target = new URL(cluster.server);
  const sockets = new Set<Socket>();
  const muted = new Set<Socket>();
  let isCut = false;
  const proxy = createServer((client) => {
    if (isCut) {
      client.destroy();
      return;
    }
    const upstream = connect(Number(target.port || '443'), target.hostname);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on('data', (bytes: Buffer) => {
        if (!muted.has(from)) to.write(bytes);
      });
      from.on('error', () => undefined);
      from.on('close', () => {
        sockets.delete(from);
        muted.delete(from);
        to.destroy();
      });
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy listens on no TCP port');
  config.clusters = config.clusters.map((each) => ({
    ...each,
    server: `https://127.0.0.1:${address.port}`,
  }));
  const endAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    config,
    cut: () => {
      isCut = true;
      endAll();
    },
    mute: () => {
      for (const socket of sockets) muted.add(socket);
    },
    restore: () => {
      isCut = false;
    },
    close: async () => {
      endAll();
      proxy.close();
      await once(proxy, 'close');
    },
  };
}
