import type { JobInput } from '../../domain/kubernetes/job-manifest.js';
import { defaultPodOptions } from '../../domain/kubernetes/pod-options.js';

/** An attempt's Job as an installation without any choice of its own makes it. */
export function jobInput(over: Partial<JobInput> = {}): JobInput {
  return {
    name: 'agentrun-01jz5k3v9q4m8n2p7r6s1t0w0x-1',
    namespace: 'agentrun-v01',
    image: 'registry.example/agentrun-runner:0.1.0-1a2b3c',
    imagePullPolicy: 'IfNotPresent',
    serviceAccount: 'agentrun-v01-runner',
    healthPort: 8_181,
    providerSecret: 'agentrun-provider',
    volumeClaim: 'agentrun-session-4f1c',
    runId: 'run_01jz5k3v9q4m8n2p7r6s1t0w0x',
    epoch: 1,
    sessionId: 'My.Session_1',
    tenantId: 'tenant-a',
    logLevel: 'info',
    lifeMs: 86_400_000,
    origin: { lane: undefined, environment: undefined, sourceCommit: undefined },
    pod: defaultPodOptions,
    ...over,
  };
}
