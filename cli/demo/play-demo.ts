import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { ApiClient } from '../../client/index.js';
import type { RunEvent } from '../../contract/events.js';
import type { QueueTaskRecord } from '../../contract/queue.js';
import { routes } from '../../contract/routes/index.js';
import type { RunResult } from '../../contract/runs.js';
import { isTerminalState } from '../../contract/states.js';
import { packageRoot } from '../../infra/config/package-root.js';
import type { Output } from '../output.js';
import { WatchScreen } from '../watch-screen.js';
import { watchSession } from '../watch-session.js';

const task =
  'greet(\'\') should say "Hello, stranger!", but its test fails. Find out why, mend it, and run the tests.';
const steerText = 'One more thing: tell me which file you changed.';
const demoLimitMs = 10 * 60_000;

/** The folder with a small task to do. */
export const sampleRepository = (): string =>
  join(packageRoot(), 'tools', 'scripted-model', 'sample-repository');

export interface DemoStage {
  readonly client: ApiClient;
  /** The scripted stand-in answers, not a real model. */
  readonly isScripted: boolean;
  readonly temporalUiUrl: string;
  /** The sample repository, as runners find it. */
  readonly workspace: { readonly path: string } | { readonly repository: string };
  readonly output: Output;
  readonly signal: AbortSignal;
}

/** Plays the demo against a running stack. True when the turn completed and the steer is in the transcript. */
export async function playDemo(stage: DemoStage): Promise<boolean> {
  const { client } = stage;
  const print = (line: string) => stage.output.line(line);
  const scripted = stage.isScripted;
  print(
    scripted
      ? 'Model: the scripted stand-in (set OPENAI_API_KEY for a real one). Agent: a real Codex app-server.'
      : 'Model: your provider. Agent: a real Codex app-server.',
  );
  const signal = AbortSignal.any([stage.signal, AbortSignal.timeout(demoLimitMs)]);
  const created = await client.call(routes.createSession, {
    body: {
      tenantId: 'demo',
      projectId: 'demo',
      workspace: stage.workspace,
    },
  });
  const { sessionId } = created.session;
  print(`session  ${sessionId}`);
  const added = await client.call(routes.createQueueTask, {
    body: {
      tenantId: 'demo',
      projectId: 'demo',
      title: 'mend greet',
      prompt: scripted ? `${task} [[scenario:demo]]` : task,
      sessionRef: { sessionId },
    },
  });
  print(`task     ${added.id}  ${added.state}`);
  const dispatched = await client.call(routes.dispatchQueueTask, { params: { taskId: added.id }, body: {} });
  const runId = dispatched.latestAttempt?.runId;
  if (runId === undefined || runId === null) throw new Error('the dispatched task has no run');
  print(`run      ${runId}\n`);

  const transcript = await watchAndSteer(stage, { sessionId, runId, scripted, signal });
  const finished = await terminalTask(client, added.id, signal);
  const result = await client.call(routes.getRunResult, { params: { runId } });
  await printOutcome(stage, runId, finished, result, transcript.steerSeen);
  return finished.state === 'completed' && transcript.steerSeen;
}

async function watchAndSteer(
  stage: DemoStage,
  turn: { sessionId: string; runId: string; scripted: boolean; signal: AbortSignal },
): Promise<{ steerSeen: boolean }> {
  const { client, output } = stage;
  const screen = new WatchScreen(output, turn.sessionId);
  let steer: Promise<string> | undefined;
  const delivered = new Set<string>();
  const onEvent = (event: RunEvent): void => {
    const { commandId } = event.payload;
    if (event.type === 'user_message' && typeof commandId === 'string') delivered.add(commandId);
    if (steer === undefined && isTimeToSteer(event, turn.scripted)) {
      output.line('        (the demo steers the running turn now)');
      steer = sendSteer(client, turn.sessionId);
      // Looked at below; an early failure must not count as unhandled in between.
      steer.catch(() => undefined);
    }
  };
  await watchSession({
    client,
    sessionId: turn.sessionId,
    from: { runId: turn.runId, seq: 0 },
    follow: false,
    signal: turn.signal,
    onFrames: (frames) => {
      screen.show(frames);
      for (const frame of frames) if (frame.frame === 'event') onEvent(frame.data);
    },
  }).finally(() => screen.close());
  if (steer === undefined) return { steerSeen: false };
  return { steerSeen: delivered.has(await steer) };
}

/** The script has one slow command to be steered at; a real model is steered at its first command. */
function isTimeToSteer(event: RunEvent, scripted: boolean): boolean {
  if (event.type !== 'command_execution' || event.payload.status !== 'inProgress') return false;
  const { command } = event.payload;
  return !scripted || (typeof command === 'string' && command.includes('sleep'));
}

async function sendSteer(client: ApiClient, sessionId: string): Promise<string> {
  const answer = await client.call(routes.send, {
    params: { sessionId },
    body: { prompt: steerText, idempotencyKey: `demo-steer-${sessionId}` },
  });
  if (answer.dryRun) throw new Error('the API answered a plan to a message');
  return answer.command.id;
}

/** The task follows its run a moment later. */
async function terminalTask(
  client: ApiClient,
  taskId: string,
  signal: AbortSignal,
): Promise<QueueTaskRecord> {
  for (;;) {
    const record = await client.call(routes.getQueueTask, { params: { taskId } }, { signal });
    if (isTerminalState(record.state)) return record;
    await sleep(100, undefined, { signal });
  }
}

async function printOutcome(
  stage: DemoStage,
  runId: string,
  record: QueueTaskRecord,
  result: RunResult,
  steerSeen: boolean,
): Promise<void> {
  const { temporalUiUrl } = stage;
  const print = (line: string) => stage.output.line(line);
  const workflowId = `turn/${runId}`;
  const events = await historyLength(temporalUiUrl, workflowId);
  print('');
  print(result.diff === null ? 'no diff' : result.diff.trimEnd());
  print('');
  print(
    `task      ${record.state}${record.failureKind === null ? '' : ` (${record.failureKind}: ${record.failureMessage ?? ''})`}`,
  );
  print(`steer     ${steerSeen ? 'in the transcript of the same turn' : 'NOT in the transcript'}`);
  if (result.usage !== null) {
    const { requests, inputTokens, outputTokens, totalTokens } = result.usage;
    print(`tokens    ${totalTokens} (${inputTokens} in, ${outputTokens} out, ${requests} model requests)`);
  }
  print(`workflow  ${workflowId}, ${events ?? 'unknown number of'} history events`);
  print(`          ${temporalUiUrl}/namespaces/default/workflows/${encodeURIComponent(workflowId)}`);
}

const describedSchema = z.object({ workflowExecutionInfo: z.object({ historyLength: z.coerce.number() }) });

/** From the HTTP API beside the Temporal UI; undefined when it does not answer. */
async function historyLength(temporalUiUrl: string, workflowId: string): Promise<number | undefined> {
  try {
    const response = await fetch(
      `${temporalUiUrl}/api/v1/namespaces/default/workflows/${encodeURIComponent(workflowId)}`,
      { signal: AbortSignal.timeout(5_000) },
    );
    return describedSchema.parse(await response.json()).workflowExecutionInfo.historyLength;
  } catch {
    return undefined;
  }
}
