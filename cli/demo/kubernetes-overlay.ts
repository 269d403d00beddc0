import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** What the overlay e2e is told about one cluster. */
export interface KubernetesOverlay {
  /** Folder that the overlay is written to, absolute. It holds secrets: 0700. */
  readonly folder: string;
  /** Root of the package, where `deploy/` is. */
  readonly packageRoot: string;
  /** Where pods reach this machine; Temporal and the model provider listen there. */
  readonly hostAddress: string;
  readonly temporalPort: number;
  /** With path, for example `http://10.244.0.1:18080/v1`. */
  readonly providerBaseUrl: string;
  /** Address of the API inside of the cluster, below its Services' range: there is no DNS. */
  readonly apiClusterIp: string;
  /** Each as `name:tag`, as the nodes have them. */
  readonly images: { readonly api: string; readonly worker: string; readonly runner: string };
  readonly secrets: {
    readonly databaseUrl: string;
    /** JSON Web Key Set. */
    readonly runnerKeys: string;
    /** Content of AGENTRUN_API_TOKENS_FILE. */
    readonly apiTokens: string;
    readonly webhookKey: string;
    readonly providerKey: string;
  };
}

/** Port of the API's Service. */
const apiPort = 8_080;

/** Base URL of the API, from pods and from the nodes. */
export const overlayApiUrl = ({ apiClusterIp }: Pick<KubernetesOverlay, 'apiClusterIp'>): string =>
  `http://${apiClusterIp}:${apiPort}`;

/**
 * Writes an overlay on top of deploy/kubernetes/overlays/e2e: addresses, images and Secrets of one cluster. `kubectl apply -k FOLDER` is then all that is
 * left to do. An image must be named without digest.
 */
export function writeKubernetesOverlay(overlay: KubernetesOverlay): void {
  const secretFolder = join(overlay.folder, 'secrets');
  mkdirSync(secretFolder, { recursive: true, mode: 0o700 });
  for (const [name, content] of Object.entries(overlay.secrets))
    writeFileSync(join(secretFolder, name), content, { mode: 0o600 });
  // JSON is YAML.
  writeFileSync(
    join(overlay.folder, 'kustomization.yaml'),
    `${JSON.stringify(kustomization(overlay), null, 2)}\n`,
  );
}

function kustomization(overlay: KubernetesOverlay): object {
  const apiUrl = overlayApiUrl(overlay);
  return {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    // Kustomize takes no absolute path.
    resources: [relative(overlay.folder, join(overlay.packageRoot, 'deploy/kubernetes/overlays/e2e'))],
    images: [
      { name: 'agentrun/api', ...imageName(overlay.images.api) },
      { name: 'agentrun/worker', ...imageName(overlay.images.worker) },
    ],
    configMapGenerator: [
      {
        name: 'agentrun-settings',
        namespace: 'agentrun',
        behavior: 'merge',
        literals: [
          `AGENTRUN_MGR_URL=${apiUrl}`,
          `AGENTRUN_INTERNAL_MGR_URL=${apiUrl}`,
          `TEMPORAL_ADDRESS=${overlay.hostAddress}:${overlay.temporalPort}`,
          `AGENTRUN_RUNNER_IMAGE=${overlay.images.runner}`,
          `AGENTRUN_PROVIDER_BASE_URL=${overlay.providerBaseUrl}`,
        ],
      },
    ],
    generatorOptions: { disableNameSuffixHash: true },
    secretGenerator: [
      secret('agentrun-database', 'agentrun', 'url', 'databaseUrl'),
      secret('agentrun-runner-keys', 'agentrun', 'keys.json', 'runnerKeys'),
      secret('agentrun-api-tokens', 'agentrun', 'tokens.json', 'apiTokens'),
      secret('agentrun-webhooks', 'agentrun', 'key', 'webhookKey'),
      secret('agentrun-provider', 'agentrun-v01', 'key', 'providerKey'),
    ],
    patches: [
      {
        target: { kind: 'Service', name: 'agentrun-mgr' },
        patch: JSON.stringify([{ op: 'add', path: '/spec/clusterIP', value: overlay.apiClusterIp }]),
      },
      {
        target: { kind: 'NetworkPolicy', name: 'runners' },
        patch: JSON.stringify([
          {
            op: 'add',
            path: '/spec/egress/-',
            value: { to: [{ ipBlock: { cidr: `${overlay.hostAddress}/32` } }] },
          },
        ]),
      },
    ],
  };
}

const secret = (
  name: string,
  namespace: string,
  key: string,
  file: keyof KubernetesOverlay['secrets'],
): object => ({ name, namespace, files: [`${key}=secrets/${file}`] });

/** The tag is what stands behind the last colon, unless that is the port of a registry. */
function imageName(image: string): { newName: string; newTag: string } {
  const colon = image.lastIndexOf(':');
  if (colon <= image.lastIndexOf('/')) return { newName: image, newTag: 'latest' };
  return { newName: image.slice(0, colon), newTag: image.slice(colon + 1) };
}
