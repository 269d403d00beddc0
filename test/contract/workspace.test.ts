import { describe, expect, test } from 'vitest';
import { workspaceInputSchema } from '../../contract/runs.js';

describe('the repository of a workspace', () => {
  test.each([
    'https://git.example.com/team/project.git',
    'https://git.example.com/a@b/project.git',
    'ssh://git@git.example.com/project.git',
    'git@git.example.com:team/project.git',
    'file:///srv/project',
    '/srv/project',
    'git@git.example.com:/srv/project.git',
    'git://git.example.com/project.git',
  ])('%s is taken', (repository) => {
    expect(workspaceInputSchema.safeParse({ repository }).success).toBe(true);
  });

  test.each([
    'https://user:secret@git.example.com/x.git',
    'https://secret@git.example.com/x.git',
    'HTTPS://secret@git.example.com/x.git',
    ' https://secret@git.example.com/x.git',
    'https:secret@git.example.com/x.git',
    'http://:secret@git.example.com/x.git',
    'ssh://git:secret@git.example.com/x.git',
    'git+https://secret@git.example.com/x.git',
    'https://user:se%20cret@git.example.com:99999/x.git',
  ])('%s holds a credential: refused, and not repeated', (repository) => {
    const parsed = workspaceInputSchema.safeParse({ repository });
    expect(parsed.success).toBe(false);
    expect(parsed.error?.issues.map((issue) => issue.path)).toEqual([['repository']]);
    expect(JSON.stringify(parsed.error?.issues)).not.toContain('secret');
  });

  test.each([
    'https://git.example.com/x.git?private_token=secret',
    'https://git.example.com/x.git#secret',
    'git@git.example.com:x.git?private_token=secret',
    'ext::sh -c id',
    'ext::sh',
    'EXT::sh%20-c%20id',
    'fd::17',
    'ftp://git.example.com/x.git',
    'git+ssh://git.example.com/x.git',
    '-oProxyCommand=id:x',
    '-u@host:x',
    'relative/folder',
    'host:a\nb',
    'javascript:alert(1)'.replace(':', '::'),
  ])('%s is not fetched', (repository) => {
    expect(workspaceInputSchema.safeParse({ repository }).success).toBe(false);
  });
});

describe('the ref of a workspace', () => {
  test.each(['main', 'v1.2.3', 'feature/ä', 'refs/heads/x'])('%s is taken', (ref) => {
    expect(workspaceInputSchema.safeParse({ ref }).success).toBe(true);
  });

  test.each(['--upload-pack=id', '-c', 'a b', 'a\u0000b', 'x'.repeat(256)])('%s is refused', (ref) => {
    expect(workspaceInputSchema.safeParse({ ref }).error?.issues[0]?.path).toEqual(['ref']);
  });
});
