import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { ProducedEvent } from '../../contract/events.js';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { EventSpill } from '../../runner/supervisor/event-spill.js';
import { EventUploader } from '../../runner/supervisor/event-uploader.js';
import { ManagerApi, type RunApi } from '../../runner/supervisor/manager-api.js';
import { RunFolder } from '../../runner/supervisor/run-folder.js';
import { uploadSpills } from '../../runner/supervisor/spill-upload.js';
import { jobNameOf } from '../../store/attempts.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { attemptSettings } from '../support/api.js';
import { type CollectingProxy, startCollectingProxy } from '../support/collecting-proxy.js';
import { seededRandom } from '../support/seeded.js';
import { claim, register, type ServingRunner, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();
const proxy: CollectingProxy = await startCollectingProxy(api.url);
afterAll(() => proxy.close());

const log = { warn: () => undefined };
/** Memory is full after a sixtieth of what comes. */
const limits = {
  memory: { bytes: 300_000, events: 200 },
  spill: { bytes: 50_000_000, segmentBytes: 80_000 },
};
const said = (text: string): ProducedEvent => ({ type: 'agent_message', payload: { itemId: 'i', text } });
const rowSchema = z.object({ epoch: z.number(), seq: z.coerce.number(), text: z.string().nullable() });

/** The sender's parts as a supervisor has them, over the real API behind the proxy. */
class Sender {
  readonly spill: EventSpill;
  readonly uploader: EventUploader;
  readonly folder: RunFolder;
  readonly fenced: string[] = [];
  readonly #api: RunApi;

  constructor(directory: string, runner: ServingRunner) {
    const { assignment, launchToken } = runner;
    const manager = new ManagerApi({ baseUrl: proxy.url, launchToken, redactor: createRedactor(), log });
    this.#api = manager.run(assignment);
    this.folder = new RunFolder(directory, runner.runId, log);
    this.spill = new EventSpill(this.folder.path, assignment.epoch, log, limits.spill);
    this.uploader = new EventUploader({
      send: (lines, timeoutMs) => this.#api.ingest(lines, timeoutMs),
      refreshToken: () => Promise.reject(new Error('the token is good')),
      onFenced: (reason) => this.fenced.push(reason),
      log,
      journal: this.spill,
      memoryLimits: limits.memory,
    });
  }

  uploadFormer(epoch: number): Promise<void> {
    const send = (former: number, lines: string, timeoutMs: number) =>
      this.#api.ingest(lines, timeoutMs, former);
    return uploadSpills({ folder: this.folder, epoch, send, signal: new AbortController().signal, log });
  }

  async completed(): Promise<void> {
    while (!(await this.uploader.complete(2_000))) expect(this.fenced).toEqual([]);
    this.spill.close(true);
  }
}

async function rows(table: 'events' | 'quarantined_events', runId: string) {
  const text = table === 'events' ? `payload ->> 'text'` : `event -> 'payload' ->> 'text'`;
  const order = table === 'events' ? 'seq' : 'epoch, producer_seq';
  const found = await database.pool.query(
    `select epoch, producer_seq as seq, ${text} as text from ${table} where run_id = $1 and producer_seq is not null order by ${order}`,
    [runId],
  );
  return z.array(rowSchema).parse(found.rows);
}

async function nextAttempt(former: ServingRunner, epoch: number): Promise<ServingRunner> {
  const { runId } = former;
  await writeAttempt(database.pool, attemptSettings, runId, epoch);
  const job = await database.pool.query<{ job_id: string }>(
    'select job_id from runner_jobs where run_id = $1 and epoch = $2',
    [runId, epoch],
  );
  const jobId = job.rows[0]?.job_id ?? '';
  const jobName = jobNameOf(runId, epoch);
  const { token } = await api.deps.runnerTokens.mintLaunch(
    { run: runId, epoch, job: jobName, jobId },
    60_000,
  );
  const { runnerId, runnerToken } = await register(api, token, jobId);
  const assignment = await claim(api, runId, token, runnerId);
  return { ...former, runnerId, runnerToken, runToken: assignment.runToken, assignment, jobId, jobName };
}

describe('a sender that does not reach the API', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'agentrun-outage-'));
    proxy.fate = () => 'pass';
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('loses nothing in ten minutes of 20 events a second: each is in the log once and in order', async () => {
    const runner = await startTurn(api);
    const sender = new Sender(directory, runner);
    sender.uploader.add(said('before'));
    expect(await sender.uploader.flush(10_000)).toBe(true);
    proxy.fate = () => 'cut';
    const failuresBefore = proxy.requests();
    for (let index = 1; index <= 12_000; index += 1) {
      sender.uploader.add(said(`event ${index} ${'x'.repeat(150)}`));
      if (index % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => proxy.requests() - failuresBefore, { timeout: 10_000 }).toBeGreaterThan(2);
    expect(sender.uploader.size).toBe(12_000);
    expect(readdirSync(sender.folder.path).length).toBeGreaterThan(10);
    // Some go through, some only seem not to.
    let count = 0;
    proxy.fate = () => {
      count += 1;
      return count % 4 === 0 ? 'lose-answer' : 'pass';
    };
    await sender.completed();
    const stored = await rows('events', runner.runId);
    expect(stored.map(({ seq }) => seq)).toEqual(Array.from({ length: 12_001 }, (_, index) => index + 1));
    expect(stored.map(({ text }) => text?.split(' x')[0])).toEqual([
      'before',
      ...Array.from({ length: 12_000 }, (_, index) => `event ${index + 1}`),
    ]);
    expect(readdirSync(sender.folder.path)).toEqual([]);
    const { rows: logs } = await database.pool.query<{ completed_epoch: number }>(
      'select completed_epoch from run_log where run_id = $1',
      [runner.runId],
    );
    expect(logs[0]?.completed_epoch).toBe(1);
  });

  it('and is killed at any moment: what its log does not have, the next attempt brings to quarantine, all of it once', async () => {
    const random = seededRandom(11);
    let runner = await startTurn(api);
    const perAttempt = 700;
    const attempts = 6;
    for (let epoch = 1; epoch <= attempts; epoch += 1) {
      if (epoch > 1) runner = await nextAttempt(runner, epoch);
      const sender = new Sender(directory, runner);
      proxy.fate = () => (random() < 0.3 ? 'lose-answer' : 'pass');
      await sender.uploadFormer(epoch);
      proxy.fate = () => {
        const chance = random();
        if (chance < 0.25) return 'cut';
        return chance < 0.5 ? 'lose-answer' : 'pass';
      };
      for (let index = 1; index <= perAttempt; index += 1) {
        sender.uploader.add(said(`${epoch}/${index}`));
        if (random() < 0.02) await sender.uploader.flush(random() * 100);
      }
      // A kill: nothing is closed, and an answer that is on its way reaches nobody.
      if (epoch < attempts) sender.uploader.stop();
      else await sender.completed();
    }
    const [stored, late] = [
      await rows('events', runner.runId),
      await rows('quarantined_events', runner.runId),
    ];
    for (let epoch = 1; epoch <= attempts; epoch += 1) {
      const both = [...stored, ...late].filter((row) => row.epoch === epoch);
      expect(both.map(({ seq }) => seq)).toEqual(Array.from({ length: perAttempt }, (_, index) => index + 1));
      expect(both.map(({ text }) => text)).toEqual(
        Array.from({ length: perAttempt }, (_, index) => `${epoch}/${index + 1}`),
      );
    }
    expect(late.length).toBeGreaterThan(0);
    expect(stored.length).toBeGreaterThan(perAttempt);
  });

  it('is heard within a second through a proxy that collects whole requests, though it goes on', async () => {
    const runner = await startTurn(api);
    const sender = new Sender(directory, runner);
    const delays: number[] = [];
    for (let index = 1; index <= 10; index += 1) {
      const addedAt = performance.now();
      sender.uploader.add(said(`visible ${index}`));
      await expect
        .poll(async () => (await rows('events', runner.runId)).length, { interval: 10, timeout: 5_000 })
        .toBe(index);
      delays.push(performance.now() - addedAt);
    }
    expect(Math.max(...delays)).toBeLessThan(1_000);
    await sender.completed();
  });
});
