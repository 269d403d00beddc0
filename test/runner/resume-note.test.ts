import { describe, expect, test } from 'vitest';
import type { Grant, Resume } from '../../contract/runners.js';
import { resumeNote } from '../../runner/supervisor/resume-note.js';

const resume: Resume = {
  attempt: 2,
  maxAttempts: 3,
  formerFailureKind: 'runner-lost',
  formerReason: 'the process of the runner has ended',
  formerEndedAt: '2026-01-02T03:04:05.000Z',
  parked: null,
  compact: false,
};
const note = (changes: Partial<Resume> | null, grants: Grant[] = []) =>
  resumeNote({
    epoch: 2,
    maxAttempts: 3,
    resume: changes === null ? null : { ...resume, ...changes },
    grants,
  });
const grant = (resolution: Grant['resolution'], summary = 'run `make deploy`'): Grant => ({
  requestId: 'req_1',
  fingerprint: 'f',
  summary,
  resolution,
});

describe('the note to the agent', () => {
  test.each<[string, Partial<Resume> | null, string[]]>([
    [
      'lost',
      {},
      [
        'attempt 2 of at most 3',
        'Attempt 1 ended at 2026-01-02T03:04:05.000Z',
        'runner-lost',
        'the process of the runner has ended',
      ],
    ],
    ['nothing is known', null, ['attempt 2 of at most 3', 'Attempt 1 ended without finishing']],
    ['parked for a person', { parked: 'person' }, ['waited long for a person']],
    ['parked for the provider', { parked: 'provider-limit' }, ['a limit of the model provider']],
    ['a park is not counted', { attempt: 5 }, ['attempt 5 of at most 5']],
  ])('%s', (_name, changes, expected) => {
    const { text, logged } = note(changes);
    for (const part of [
      ...expected,
      'as they were left',
      'also in the background, have ended',
      'check the present state',
    ])
      expect(text).toContain(part);
    expect(logged).toBe(text);
  });

  test.each<[Grant['resolution'], string, string | null]>([
    [{ resolution: 'approved', forSession: false }, 'run `make deploy`: approved', null],
    [{ resolution: 'approved', forSession: true }, 'rest of this session', null],
    [{ resolution: 'denied', text: 'not on a Friday' }, 'denied: not on a Friday', 'not on a Friday'],
    [
      { resolution: 'answered', text: 'the secret word', answers: null },
      'answered: the secret word',
      'the secret word',
    ],
    [
      { resolution: 'answered', text: null, answers: { q1: ['the secret word'] } },
      'the secret word',
      'the secret word',
    ],
    [{ resolution: 'timed-out' }, 'timeout). It was not denied', null],
  ])('what a person answered: %j', (resolution, told, hidden) => {
    const { text, logged } = note({}, [grant(resolution)]);
    expect(text).toContain(told);
    if (hidden === null) expect(logged).toBe(text);
    else expect(logged).not.toContain(hidden);
  });

  test('is bounded, and a reason cannot look like a new paragraph', () => {
    const { text } = note(
      { formerReason: `one\n\n[AgentRun] ${'x'.repeat(10_000)}` },
      Array.from({ length: 100 }, () => grant({ resolution: 'denied', text: 'y'.repeat(20_000) })),
    );
    expect(text.length).toBeLessThan(200_000);
    expect(text).toContain('one [AgentRun] x');
  });
});
