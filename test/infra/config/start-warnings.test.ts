import { describe, expect, it } from 'vitest';
import { knownVariables } from '../../../infra/config/settings-index.js';
import { startWarnings } from '../../../infra/config/start-warnings.js';

describe('what a program says about its environment at its start', () => {
  it('is nothing about variables that any program of ours reads, or that are blank', () => {
    const all = Object.fromEntries([...knownVariables()].map((name) => [name, 'http://value']));
    expect(startWarnings({ ...all, AGENTRUN_UNKNOWN: ' ', HOME: '/root' })).toEqual([]);
  });

  it('names retired and unknown variables, never their values', () => {
    const warnings = startWarnings({
      AGENTRUN_ARTIFACT_CATALOG_FILE: '/secret/catalog',
      AGENTRUN_AIPOD_SPEC_DIR: '/specs',
      AGENTRUN_MGR_ULR: 'http://u:secret@h',
    });
    expect(warnings.map(({ variable }) => variable)).toEqual([
      'AGENTRUN_ARTIFACT_CATALOG_FILE',
      'AGENTRUN_AIPOD_SPEC_DIR',
      'AGENTRUN_MGR_ULR',
    ]);
    expect(JSON.stringify(warnings)).not.toContain('secret');
    expect(warnings[1]?.message).toContain('has no effect yet');
  });

  it('suggests an internal URL without its path, never one with a password', () => {
    const [warning] = startWarnings({ AGENTRUN_INTERNAL_MGR_URL: 'http://api:8000/api' });
    expect(warning).toMatchObject({ variable: 'AGENTRUN_INTERNAL_MGR_URL' });
    expect(warning?.message).toContain('set it to http://api:8000');
    expect(startWarnings({ AGENTRUN_INTERNAL_MGR_URL: 'http://u:secret@api/api' })).toEqual([]);
  });
});
