import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { podLayout } from '../../domain/kubernetes/pod-layout.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { imageParts } from '../../tools/image-parts/image-parts.js';
import { rooms } from '../support/source-files.js';

const linesOf = (path: string) => readFileSync(join(packageRoot(), path), 'utf8').split('\n');

describe('.dockerignore', () => {
  const patterns = linesOf('.dockerignore').filter((line) => line !== '' && !line.startsWith('#'));
  const letIn = patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => pattern.slice(1));

  it('lets in the sources by name and nothing else, so that no secret or data folder enters a build', () => {
    expect(patterns[0]).toBe('*');
    const buildFiles = [
      '.npmrc',
      'LICENSE',
      'docs/errors.md',
      'package-lock.json',
      'package.json',
      'tsconfig.build.json',
      'tsconfig.json',
      'tsconfig.types.json',
    ];
    expect([...letIn].sort()).toEqual([...rooms, ...buildFiles].sort());
    expect(letIn.filter((path) => !existsSync(join(packageRoot(), path)))).toEqual([]);
  });

  it('keeps out what may hold a secret, also among the sources', () => {
    expect(patterns.slice(1 + letIn.length)).toEqual(
      expect.arrayContaining(['**/.env', '**/.env.*', '**/*.pem', '**/*.key']),
    );
  });
});

describe('the Dockerfile', () => {
  const lines = linesOf('deploy/images/Dockerfile');
  const stages = new Map(
    lines.flatMap((line) => {
      const [, base, name] = /^FROM (\S+) AS (\S+)$/.exec(line) ?? [];
      return base === undefined || name === undefined ? [] : [[name, base] as const];
    }),
  );

  it('has a stage per image, all of one base with glibc in an exact version', () => {
    expect([...stages.keys()]).toEqual(expect.arrayContaining(Object.keys(imageParts)));
    for (const base of stages.values())
      expect(['NODE_IMAGE', ...stages.keys()]).toContain(base.replace(/[${}]/g, ''));
    expect(lines).toContainEqual(
      expect.stringMatching(/^ARG NODE_IMAGE=docker\.io\/library\/node:\d+\.\d+\.\d+-bookworm-slim$/),
    );
  });

  it('ends every image as the user of the pods', () => {
    const userOf = (stage: string): string | undefined => {
      const start = lines.findIndex((line) => line.endsWith(` AS ${stage}`));
      const end = lines.findIndex((line, index) => index > start && line.startsWith('FROM '));
      const own = lines.slice(start, end === -1 ? undefined : end).filter((line) => line.startsWith('USER '));
      return own.at(-1) ?? userOf(stages.get(stage) ?? '');
    };
    for (const image of Object.keys(imageParts))
      expect(userOf(image)).toBe(`USER ${podLayout.userId}:${podLayout.groupId}`);
  });

  it('gives programs no setting: these come from the manifests', () => {
    expect(lines.filter((line) => /^(?:ENV|ARG) /.test(line)).map((line) => line.split('=')[0])).toEqual([
      'ARG NODE_IMAGE',
      'ENV NODE_ENV',
    ]);
  });
});
