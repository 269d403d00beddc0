import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readExitReason, writeExitReason } from '../../../infra/processes/exit-reason.js';

const directory = mkdtempSync(join(tmpdir(), 'agentrun-reason-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('the reason that a runner leaves', () => {
  test('in a file of its own: with the exit code, for the owner only', () => {
    const path = join(directory, 'exit-reason.json');
    writeExitReason(path, { exitCode: 2, message: 'wrong URL' });
    expect(readExitReason(path)).toEqual({ exitCode: 2, message: 'wrong URL' });
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('in the termination log of a container: the message alone, in the very file that the kubelet has mounted', () => {
    const path = join(directory, 'termination-log');
    writeFileSync(path, 'what stood there before, and was longer');
    const { ino } = statSync(path);
    writeExitReason(path, { exitCode: 2, message: 'wrong URL' });
    expect(readFileSync(path, 'utf8')).toBe('wrong URL');
    expect(statSync(path).ino).toBe(ino);
  });

  test('a long one is cut to what Kubernetes keeps, between two characters', () => {
    const path = join(directory, 'long');
    writeFileSync(path, '');
    writeExitReason(path, { exitCode: 2, message: `x${'€'.repeat(1_999)}` });
    expect(readFileSync(path, 'utf8')).toBe(`x${'€'.repeat(1_365)}`);
  });

  test('nothing is written through a link', () => {
    const target = join(directory, 'target');
    writeFileSync(target, 'kept');
    symlinkSync(target, join(directory, 'link'));
    expect(() => writeExitReason(join(directory, 'link'), { exitCode: 2, message: 'x' })).toThrow('ELOOP');
    expect(readFileSync(target, 'utf8')).toBe('kept');
  });
});
