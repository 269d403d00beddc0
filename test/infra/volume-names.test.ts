import { describe, expect, it } from 'vitest';
import { jobNameProblem } from '../../domain/kubernetes/names.js';
import { newId } from '../../store/new-id.js';
import { storageColumns } from '../../store/storage-place.js';
import { volumeClaimName } from '../../store/volume-names.js';

describe('the name of a volume claim', () => {
  it.each([
    newId('sess'),
    'a',
    'sess_',
    'My.Session_1',
    '0-._-9',
    `A${'.'.repeat(127)}`,
    'Z'.repeat(128),
    `${'word-'.repeat(6)}x`,
  ])('is one that Kubernetes takes, for %s', (sessionId) => {
    const name = volumeClaimName(sessionId);
    expect(jobNameProblem(name)).toBeUndefined();
    expect(volumeClaimName(sessionId)).toBe(name);
  });

  it('is another for each id, also where the words are the same', () => {
    const ids = [
      'abc',
      'ABC',
      'a.bc',
      'a-bc',
      'a_bc',
      'abc-',
      'sess_abc',
      `${'x'.repeat(30)}1`,
      `${'x'.repeat(30)}2`,
    ];
    expect(new Set(ids.map(volumeClaimName)).size).toBe(ids.length);
  });

  it('shows the id to people', () => {
    const sessionId = newId('sess');
    expect(volumeClaimName(sessionId)).toMatch(
      new RegExp(`^session-${sessionId.slice('sess_'.length)}-[0-9a-f]{24}$`),
    );
  });

  it('is recorded with its namespace, and a directory as before', () => {
    expect(storageColumns('S', { backend: 'pvc', namespace: 'agents' })).toEqual({
      backend: 'pvc',
      pvcName: volumeClaimName('S'),
      namespace: 'agents',
    });
    expect(storageColumns('S', { backend: 'directory' })).toEqual({
      backend: 'directory',
      pvcName: 'agentrun-session-S',
      namespace: null,
    });
  });
});
