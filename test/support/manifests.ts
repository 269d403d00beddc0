import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAllYaml } from '@kubernetes/client-node';
import { z } from 'zod';
import { packageRoot } from '../../infra/config/package-root.js';

const manifestSchema = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().optional(),
    labels: z.record(z.string(), z.string()).optional(),
  }),
});

/** One object as a file of deploy/ has it. */
export type Manifest = z.infer<typeof manifestSchema>;

export const deployFolder = join(packageRoot(), 'deploy', 'kubernetes');

/** The files below deploy/kubernetes that hold objects: what kustomize itself reads is left out. */
export function manifestFiles(): string[] {
  const settings = new Set(['kustomization.yaml', 'runner-pod.yaml']);
  return readdirSync(deployFolder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.yaml') && !settings.has(file.split('/').at(-1) ?? ''))
    .sort();
}

/** The objects of a YAML text, each with the three parts that every object has. @throws Error when one lacks them. */
export function parseManifests(text: string): Manifest[] {
  const objects: unknown[] = loadAllYaml(text);
  return objects.filter((object) => object !== null).map((object) => manifestSchema.parse(object));
}

export const manifestsOf = (file: string): Manifest[] =>
  parseManifests(readFileSync(join(deployFolder, file), 'utf8'));

export const allManifests = (): Manifest[] => manifestFiles().flatMap(manifestsOf);

/** The pod of a Deployment or Job. */
const workloadSchema = z.looseObject({
  spec: z.looseObject({
    template: z.looseObject({
      metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }),
      spec: z.looseObject({
        serviceAccountName: z.string(),
        automountServiceAccountToken: z.boolean(),
        initContainers: z.array(z.looseObject({ name: z.string(), image: z.string() })).default([]),
        containers: z.tuple([
          z.looseObject({
            name: z.string(),
            image: z.string(),
            args: z.array(z.string()),
            envFrom: z
              .array(z.looseObject({ configMapRef: z.looseObject({ name: z.string() }) }))
              .default([]),
            env: z.array(z.strictObject({ name: z.string(), value: z.string() })),
            volumeMounts: z.array(z.looseObject({ name: z.string(), mountPath: z.string() })),
          }),
        ]),
        volumes: z.array(
          z.looseObject({
            name: z.string(),
            secret: z.looseObject({ secretName: z.string() }).optional(),
          }),
        ),
      }),
    }),
  }),
});

export type Workload = Manifest & z.infer<typeof workloadSchema>;

const workloadKinds = new Set(['Deployment', 'Job', 'StatefulSet', 'DaemonSet', 'CronJob', 'Pod']);

/** What of `manifests` runs pods. Its variables are values, never `valueFrom`: that could only be a Secret. */
export function workloads(manifests: readonly Manifest[]): Workload[] {
  return manifests
    .filter(({ kind }) => workloadKinds.has(kind))
    .map((manifest) => ({ ...manifest, ...workloadSchema.parse(manifest) }));
}
