import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ComponentName, kubeconfigPath, nodeName } from './components.js';
import type { ClusterLayout } from './layout.js';
import { pauseImage } from './pause-image.js';

/** Who may speak to the API server, by token: each program as the user that Kubernetes' own roles are bound to. */
const users: readonly {
  readonly component: ComponentName | 'admin';
  readonly user: string;
  readonly group: string;
}[] = [
  { component: 'admin', user: 'admin', group: 'system:masters' },
  { component: 'kube-controller-manager', user: 'system:kube-controller-manager', group: '' },
  { component: 'kube-scheduler', user: 'system:kube-scheduler', group: '' },
  { component: 'kube-proxy', user: 'system:kube-proxy', group: '' },
  { component: 'kubelet', user: `system:node:${nodeName}`, group: 'system:nodes' },
];

/** Writes all files that the programs of a cluster read, after the certificates were made. */
export function writeConfiguration(layout: ClusterLayout, binary: string): void {
  const { folder } = layout;
  for (const name of ['cni', 'kubelet', 'containerd']) mkdirSync(join(folder, name), { recursive: true });
  writeUsers(layout);
  writeJson(join(folder, 'cni/10-bridge.conflist'), podNetwork(layout));
  writeFileSync(join(folder, 'containerd.toml'), containerdConfig(layout));
  // No name has to be resolved in this cluster; one that is asked for is refused at once instead of waited for.
  writeFileSync(
    join(folder, 'resolv.conf'),
    `nameserver ${layout.nodeAddress}\noptions timeout:1 attempts:1\n`,
  );
  writeJson(join(folder, 'kubelet.json'), kubeletConfig(layout));
  writeJson(join(folder, 'kube-proxy.json'), proxyConfig(layout));
  symlinkSync(binary, layout.kubectl);
}

function writeUsers(layout: ClusterLayout): void {
  const rows = users.map((user, at) => ({ ...user, at, token: randomBytes(24).toString('hex') }));
  const tokens = rows.map(({ token, user, at, group }) => `${token},${user},${at},"${group}"\n`);
  writeFileSync(join(layout.folder, 'pki/tokens.csv'), tokens.join(''), { mode: 0o600 });
  for (const { component, token } of rows) {
    const path = component === 'admin' ? layout.kubeconfig : kubeconfigPath(layout.folder, component);
    writeJson(path, kubeconfig(layout, token));
  }
}

/** JSON is YAML too. */
function writeJson(path: string, content: unknown): void {
  writeFileSync(path, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
}

function kubeconfig({ apiUrl, folder }: ClusterLayout, token: string) {
  const authority = readFileSync(join(folder, 'pki/ca.crt')).toString('base64');
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server: apiUrl, 'certificate-authority-data': authority } }],
    users: [{ name: 'test', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  };
}

function podNetwork({ podRange }: ClusterLayout) {
  const bridge = { type: 'bridge', bridge: 'pods0', isGateway: true, ipMasq: false, hairpinMode: true };
  const addresses = {
    type: 'host-local',
    ranges: [[{ subnet: podRange }]],
    routes: [{ dst: '0.0.0.0/0' }],
  };
  return {
    cniVersion: '0.4.0',
    name: 'pods',
    plugins: [{ ...bridge, ipam: addresses }, { type: 'loopback' }],
  };
}

const overlayFileSystem = 0x794c7630;

function containerdConfig({ folder, containerdAddress }: ClusterLayout): string {
  // The kernel stacks no overlay on an overlay, which is what a folder in a container is.
  const snapshotter = statfsSync(folder).type === overlayFileSystem ? 'native' : 'overlayfs';
  return `version = 2
root = "${folder}/containerd/root"
state = "${folder}/containerd/state"
[grpc]
address = "${containerdAddress}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${pauseImage}"
# Some machines withhold CAP_SYS_RESOURCE even from root.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "${snapshotter}"
`;
}

function kubeletConfig({ folder, name, nodeAddress, containerdAddress }: ClusterLayout) {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: join(folder, 'pki/ca.crt') },
    },
    authorization: { mode: 'Webhook' },
    containerRuntimeEndpoint: `unix://${containerdAddress}`,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${name}`,
    failSwapOn: false,
    failCgroupV1: false,
    oomScoreAdj: 0,
    enforceNodeAllocatable: [],
    // The node's whole disk and memory are the machine's: what others use there must not drive pods out.
    evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    imageGCHighThresholdPercent: 100,
    clusterDNS: [nodeAddress],
    clusterDomain: 'cluster.local',
    resolvConf: join(folder, 'resolv.conf'),
    nodeStatusUpdateFrequency: '2s',
    nodeLeaseDurationSeconds: 8,
    volumePluginDir: join(folder, 'kubelet/plugins'),
    podLogsDir: join(folder, 'pod-logs'),
  };
}

function proxyConfig({ folder, podRange }: ClusterLayout) {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clientConnection: { kubeconfig: kubeconfigPath(folder, 'kube-proxy') },
    mode: 'iptables',
    clusterCIDR: podRange,
    hostnameOverride: nodeName,
    conntrack: { maxPerCore: 0 },
    iptables: { masqueradeAll: true },
  };
}
