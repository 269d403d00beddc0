import { describe, expect, it } from 'vitest';
import {
  lineSplitter,
  ownProgramNotice,
  postgresNotice,
  temporalNotice,
} from '../../cli/stack/child-output.js';
import { livingLeftovers } from '../../cli/stack/leftovers.js';
import { parsePostmasterFile } from '../../cli/stack/postmaster-file.js';
import { chooseProvider } from '../../cli/stack/provider-choice.js';
import type { ChildName } from '../../cli/stack/stack-paths.js';
import { temporalArguments } from '../../cli/stack/temporal-server.js';
import type { ProcessIdentity } from '../../infra/processes/process-identity.js';

describe('livingLeftovers', () => {
  it('keeps what lives, users of a service before the service', () => {
    const recorded = new Map<ChildName, ProcessIdentity>([
      ['postgres', { pid: 10, startTime: 1 }],
      ['worker', { pid: 11, startTime: 1 }],
      ['temporal', { pid: 12, startTime: 1 }],
      ['api', { pid: 13, startTime: 1 }],
    ]);
    const living = livingLeftovers(recorded, (identity) => identity.pid !== 12);
    expect(living.map((leftover) => leftover.name)).toEqual(['api', 'worker', 'postgres']);
  });

  it('leaves a pid alone that now belongs to another program', () => {
    const running: ProcessIdentity = { pid: 10, startTime: 99 };
    const recorded = new Map<ChildName, ProcessIdentity>([['api', { pid: 10, startTime: 1 }]]);
    expect(livingLeftovers(recorded, (identity) => identity.startTime === running.startTime)).toEqual([]);
  });
});

describe('chooseProvider', () => {
  const unset = { key: undefined, baseUrl: undefined, model: undefined };

  it.each([
    {
      name: 'nothing said: the scripted model server',
      settings: unset,
      choice: { kind: 'scripted', key: 'scripted-key', model: 'scripted-1' },
    },
    {
      name: 'a model alone changes only the model',
      settings: { ...unset, model: 'm' },
      choice: { kind: 'scripted', key: 'scripted-key', model: 'm' },
    },
    {
      name: 'a key alone: OpenAI',
      settings: { ...unset, key: 'k' },
      choice: { kind: 'provider', baseUrl: 'https://api.openai.com/v1', key: 'k', model: 'gpt-5.1-codex' },
    },
    {
      name: 'a base URL alone: a provider without a key',
      settings: { ...unset, baseUrl: 'http://127.0.0.1:1/v1' },
      choice: { kind: 'provider', baseUrl: 'http://127.0.0.1:1/v1', key: 'no-key', model: 'gpt-5.1-codex' },
    },
    {
      name: 'all of it',
      settings: { key: 'k', baseUrl: 'http://127.0.0.1:1/v1', model: 'm' },
      choice: { kind: 'provider', baseUrl: 'http://127.0.0.1:1/v1', key: 'k', model: 'm' },
    },
  ])('$name', ({ settings, choice }) => {
    expect(chooseProvider(settings)).toEqual(choice);
  });
});

describe('the lines for the terminal', () => {
  it.each([
    { line: '{"level":30,"msg":"ready"}', notice: undefined },
    { line: '{"level":40,"msg":"slow"}', notice: 'WARN slow' },
    {
      line: '{"level":50,"msg":"lost","err":{"message":"ECONNREFUSED"}}',
      notice: 'ERROR lost: ECONNREFUSED',
    },
    { line: '{"level":"info","msg":"ready"}', notice: undefined },
    { line: '{"level":"error","msg":"lost","cause":"Error: ENOSPC"}', notice: 'ERROR lost: Error: ENOSPC' },
    {
      line: '{"level":"warn","activityType":"startRunner","workflowId":"turn/run_1","runId":"run_1","attempt":2,"error":{"message":"no space\\nleft"},"msg":"Activity failed"}',
      notice: 'WARN Activity failed (startRunner, turn/run_1, attempt 2): no space left',
    },
    {
      line: '{"level":"warn","runId":"run_1","epoch":1,"reason":"runner-lost","msg":"the attempt is tried again"}',
      notice: 'WARN the attempt is tried again (run_1): runner-lost',
    },
    {
      line: '{"level":"warn","error":{"errno":-111,"code":"ECONNREFUSED"},"msg":"cannot look at the attempt"}',
      notice: 'WARN cannot look at the attempt: ECONNREFUSED',
    },
    { line: 'TypeError: x is not a function', notice: 'TypeError: x is not a function' },
    { line: '    at main (file.js:1:1)', notice: undefined },
  ])('of our programs: $line', ({ line, notice }) => {
    expect(ownProgramNotice(line)).toBe(notice);
  });

  it('are at most 300 characters', () => {
    const line = JSON.stringify({ level: 'error', msg: 'lost', cause: 'x'.repeat(5_000) });
    expect(ownProgramNotice(line)).toHaveLength(300);
  });

  it.each([
    { line: '2026-01-01 LOG:  checkpoint complete', notice: undefined },
    { line: '2026-01-01 ERROR:  duplicate key', notice: undefined },
    { line: '2026-01-01 [7] FATAL:  could not write', notice: 'FATAL could not write' },
  ])('of Postgres: $line', ({ line, notice }) => {
    expect(postgresNotice(line)).toBe(notice);
  });

  it.each([
    { line: 'time=1 level=WARN msg="network dial error" error="refused"', notice: undefined },
    { line: 'time=1 level=ERROR msg="disk" service=x error="full"', notice: 'ERROR disk: full' },
    { line: 'Error: failed starting server: bind', notice: 'Error: failed starting server: bind' },
    { line: 'Server:  localhost:7233', notice: undefined },
  ])('of Temporal: $line', ({ line, notice }) => {
    expect(temporalNotice(line)).toBe(notice);
  });

  it('are put together from pieces', () => {
    const lines: string[] = [];
    const split = lineSplitter((line) => lines.push(line));
    for (const piece of ['a', 'b\nc', '\n\nd\n', 'rest']) split(piece);
    expect(lines).toEqual(['ab', 'c', 'd']);
  });
});

describe('parsePostmasterFile', () => {
  it.each([
    {
      text: '42\n/data\n1700000000\n15432\n\n127.0.0.1\n  5 6\nready   \n',
      expected: { pid: 42, port: 15432, status: 'ready' },
    },
    { text: '42\n/data\n1700000000\n15432\n', expected: { pid: 42, port: 15432, status: 'starting' } },
    { text: '', expected: undefined },
    { text: '-7\n/data\n', expected: undefined },
  ])('$text', ({ text, expected }) => {
    expect(parsePostmasterFile(text)).toEqual(expected);
  });
});

describe('temporalArguments', () => {
  it('listen on loopback, are tuned as measured and register the search attributes', () => {
    const text = temporalArguments({
      database: '/d/temporal.db',
      port: 1,
      uiPort: 2,
    }).join(' ');
    expect(text).toContain('--ip 127.0.0.1 --port 1 --ui-port 2 --db-filename /d/temporal.db');
    expect(text).toContain('--sqlite-pragma journal_mode=wal --sqlite-pragma synchronous=normal');
    expect(text).toContain('history.transferProcessorMaxPollRPS=2000');
    expect(text).toContain('--search-attribute AgentRunState=Keyword');
  });
});
