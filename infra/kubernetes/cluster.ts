import {
  AuthorizationV1Api,
  BatchV1Api,
  CoreV1Api,
  createConfiguration,
  KubeConfig,
  type Middleware,
  ServerConfiguration,
  StorageV1Api,
} from '@kubernetes/client-node';

/** A cluster, and the namespace of it that runners live in. */
export interface Cluster {
  readonly namespace: string;
  readonly config: KubeConfig;
  readonly batch: BatchV1Api;
  readonly core: CoreV1Api;
  readonly storage: StorageV1Api;
  readonly authorization: AuthorizationV1Api;
}

/** Of one call of a client, to the last byte of its answer; watches have limits of their own. */
const longestCallMs = 20_000;

/**
 * The cluster that `kubeconfig` (a file) names, or the one that this program runs in. Nothing is asked of it yet. Each call of the clients ends within
 * {@link longestCallMs}: an API server that does not answer holds nobody up for longer.
 *
 * @throws Error when the file cannot be read.
 */
export function connectCluster(settings: {
  readonly namespace: string;
  readonly kubeconfig: string | undefined;
}): Cluster {
  const config = new KubeConfig();
  if (settings.kubeconfig === undefined) config.loadFromCluster();
  else config.loadFromFile(settings.kubeconfig);
  const server = config.getCurrentCluster()?.server;
  if (server === undefined) throw new Error('the kubeconfig names no current cluster');
  const calls = createConfiguration({
    baseServer: new ServerConfiguration(server, {}),
    authMethods: { default: config },
    promiseMiddleware: [bounded],
  });
  return {
    namespace: settings.namespace,
    config,
    batch: new BatchV1Api(calls),
    core: new CoreV1Api(calls),
    storage: new StorageV1Api(calls),
    authorization: new AuthorizationV1Api(calls),
  };
}

const bounded: Middleware = {
  pre: (request) => {
    request.setSignal(AbortSignal.timeout(longestCallMs));
    return Promise.resolve(request);
  },
  post: (response) => Promise.resolve(response),
};
