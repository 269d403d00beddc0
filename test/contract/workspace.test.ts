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
});
