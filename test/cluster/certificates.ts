import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './commands.js';
import type { ClusterLayout } from './layout.js';

/** Makes the cluster's own authority in `pki/`, the certificates that it signs, and the key pair of service account tokens. */
export async function makeCertificates({ folder, nodeAddress, serviceRange }: ClusterLayout): Promise<void> {
  const pki = join(folder, 'pki');
  mkdirSync(pki, { recursive: true });
  await certificate(pki, 'ca', '/CN=agentrun-test-cluster', []);
  const kubernetesService = serviceRange.replace(/0\/24$/, '1');
  const names = [
    ...['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'].map(
      (name) => `DNS:${name}`,
    ),
    ...['127.0.0.1', nodeAddress, kubernetesService].map((address) => `IP:${address}`),
  ];
  const signed = ['-CA', join(pki, 'ca.crt'), '-CAkey', join(pki, 'ca.key')];
  await Promise.all([
    certificate(pki, 'apiserver', '/CN=kube-apiserver', [
      ...signed,
      '-addext',
      `subjectAltName=${names.join(',')}`,
    ]),
    // How the API server asks the kubelet for logs and exec.
    certificate(pki, 'kubelet-client', '/O=system:masters/CN=kube-apiserver', signed),
    run('openssl', ['genrsa', '-out', join(pki, 'sa.key'), '2048']),
  ]);
  await run('openssl', ['rsa', '-in', join(pki, 'sa.key'), '-pubout', '-out', join(pki, 'sa.pub')]);
}

async function certificate(
  pki: string,
  name: string,
  subject: string,
  more: readonly string[],
): Promise<void> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const files = ['-keyout', join(pki, `${name}.key`), '-out', join(pki, `${name}.crt`)];
  await run('openssl', ['req', '-x509', ...key, '-days', '365', '-subj', subject, ...files, ...more]);
}
