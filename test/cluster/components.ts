import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterLayout } from './layout.js';
import { startInNode } from './node-namespaces.js';

/** The node's only name. */
export const nodeName = 'node1';

/** A long-running program of the cluster. */
export type ComponentName =
  | 'etcd'
  | 'containerd'
  | 'kube-apiserver'
  | 'kube-controller-manager'
  | 'kube-scheduler'
  | 'kubelet'
  | 'kube-proxy';

/** Starts the program in the node, with its log in `logs/`. Does not wait until it serves. */
export function startComponent(component: ComponentName, layout: ClusterLayout): void {
  const program =
    component === 'etcd' || component === 'containerd'
      ? [component]
      : [readlinkSync(layout.kubectl), component];
  const flags = Object.entries(componentFlags(component, layout)).map(
    ([name, value]) => `--${name}=${value}`,
  );
  startInNode(layout.folder, component, [...program, ...flags]);
}

function componentFlags(
  component: ComponentName,
  { folder, nodeAddress, serviceRange }: ClusterLayout,
): Readonly<Record<string, string>> {
  const pki = join(folder, 'pki');
  const kubeconfig = kubeconfigPath(folder, component);
  switch (component) {
    case 'etcd':
      return {
        'data-dir': join(folder, 'etcd'),
        'listen-client-urls': 'http://127.0.0.1:2379',
        'advertise-client-urls': 'http://127.0.0.1:2379',
        'listen-peer-urls': 'http://127.0.0.1:2380',
        // Nothing of a test cluster is worth a wait for the disk.
        'unsafe-no-fsync': 'true',
      };
    case 'containerd':
      return { config: join(folder, 'containerd.toml') };
    case 'kube-apiserver':
      return {
        'etcd-servers': 'http://127.0.0.1:2379',
        'bind-address': '0.0.0.0',
        'secure-port': '6443',
        'advertise-address': nodeAddress,
        'cert-dir': pki,
        'tls-cert-file': `${pki}/apiserver.crt`,
        'tls-private-key-file': `${pki}/apiserver.key`,
        'client-ca-file': `${pki}/ca.crt`,
        'token-auth-file': `${pki}/tokens.csv`,
        'service-account-key-file': `${pki}/sa.pub`,
        'service-account-signing-key-file': `${pki}/sa.key`,
        'service-account-issuer': 'https://kubernetes.default.svc',
        'service-cluster-ip-range': serviceRange,
        'authorization-mode': 'Node,RBAC',
        // The defaults stay on: PodSecurity, ResourceQuota, ValidatingAdmissionPolicy and so on.
        'enable-admission-plugins': 'NodeRestriction',
        // As real clusters have it: what refuses a privileged container is then the policy that a test is about.
        'allow-privileged': 'true',
        'kubelet-client-certificate': `${pki}/kubelet-client.crt`,
        'kubelet-client-key': `${pki}/kubelet-client.key`,
        // The node's name is known to no DNS.
        'kubelet-preferred-address-types': 'InternalIP',
      };
    case 'kube-controller-manager':
      return {
        kubeconfig,
        'leader-elect': 'false',
        'secure-port': '0',
        'service-account-private-key-file': `${pki}/sa.key`,
        'root-ca-file': `${pki}/ca.crt`,
        // Each controller acts as an account of its own: that is how Kubernetes' roles give them their rights.
        'use-service-account-credentials': 'true',
        'enable-hostpath-provisioner': 'true',
        // A node that says nothing for 10 s is lost, so that tests need not wait for 40.
        'node-monitor-grace-period': '10s',
        'node-monitor-period': '1s',
        controllers: '*,-nodeipam,-cloud-node-lifecycle,-service-lb-controller',
      };
    case 'kube-scheduler':
      return { kubeconfig, 'leader-elect': 'false', 'secure-port': '0' };
    case 'kubelet':
      return {
        kubeconfig,
        config: join(folder, 'kubelet.json'),
        'cert-dir': pki,
        'root-dir': join(folder, 'kubelet'),
        'hostname-override': nodeName,
        'node-ip': nodeAddress,
      };
    case 'kube-proxy':
      return { config: join(folder, 'kube-proxy.json') };
  }
}

export function kubeconfigPath(folder: string, component: ComponentName): string {
  return join(folder, 'pki', `${component}.kubeconfig`);
}
