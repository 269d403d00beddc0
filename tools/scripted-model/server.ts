import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { z } from 'zod';
import { playAnswer } from './answer-stream.js';
import type { Conversation } from './conversation.js';
import { readConversation, responsesRequestSchema } from './conversation.js';
import type { HoldState } from './holds.js';
import { Holds } from './holds.js';
import type { Choice } from './player.js';
import { Player } from './player.js';
import { planFailure } from './provider-failures.js';
import type { RecordedRequest } from './request-log.js';
import { RequestLog } from './request-log.js';
import { buildAnswer } from './responses-api.js';
import type { Failure, ScenarioInput } from './scenario.js';
import { builtInScenarioDir, ScenarioLibrary, UnknownScenarioError } from './scenario-library.js';
import { answerControlRequest, readBody, sendError, sendJson } from './server-routes.js';

export interface ScriptedModelOptions {
  /** Scenarios beside those of the folders; they win over a file of the same name. */
  readonly scenarios?: readonly ScenarioInput[];
  /** Folders of `*.json` files beside the built-in one. */
  readonly scenarioDirs?: readonly string[];
  /** Appends each request and its outcome to this file, a JSON line each. */
  readonly recordFile?: string;
  readonly host?: string;
  /** 0 (the default) takes a free one. */
  readonly port?: number;
}

export interface ScriptedModelServer {
  /** Without a path: a client's base URL is `${url}/v1`. */
  readonly url: string;
  requests(): readonly RecordedRequest[];
  holds(): readonly HoldState[];
  release(hold: string): number;
  arm(hold: string): void;
  /** Breaks off what is being answered and ends when the port is free. */
  close(): Promise<void>;
}

/**
 * Starts a server that speaks the OpenAI Responses API and plays scenarios. It stands in for a model provider in
 * tests and in the demo; there is no model behind it.
 *
 * @throws ScenarioFileError; the error of `listen` when the port is taken.
 */
export async function createScriptedModelServer(
  options: ScriptedModelOptions = {},
): Promise<ScriptedModelServer> {
  const dirs = [builtInScenarioDir(), ...(options.scenarioDirs ?? [])];
  const library = new ScenarioLibrary(dirs, options.scenarios);
  const context: Context = {
    library,
    player: new Player(library),
    holds: new Holds(),
    log: new RequestLog(options.recordFile),
    closing: new AbortController(),
  };
  const server = createServer((request, response) => {
    handle(context, request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else
        sendError(
          response,
          500,
          'server_error',
          null,
          error instanceof Error ? error.message : String(error),
        );
    });
  });
  const host = options.host ?? '127.0.0.1';
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, host, () => resolve());
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    requests: () => context.log.all(),
    holds: () => context.holds.list(),
    release: (hold) => context.holds.release(hold),
    arm: (hold) => context.holds.arm(hold),
    close: () => {
      context.closing.abort(new Error('the server closes'));
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

interface Context {
  readonly library: ScenarioLibrary;
  readonly player: Player;
  readonly holds: Holds;
  readonly log: RequestLog;
  readonly closing: AbortController;
}

async function handle(context: Context, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://scripted-model');
  const route = `${request.method} ${url.pathname}`;
  if (answerControlRequest(context, route, url, response)) return;
  if (request.headers.authorization === undefined) {
    request.resume();
    sendError(response, 401, 'invalid_request_error', null, "You didn't provide an API key.");
    return;
  }
  if (route === 'GET /v1/models') {
    sendJson(response, 200, {
      object: 'list',
      data: [{ id: 'scripted-1', object: 'model', owned_by: 'scripted-model' }],
    });
    return;
  }
  if (route === 'POST /v1/responses') return answer(context, url.pathname, request, response);
  request.resume();
  sendError(response, 404, 'invalid_request_error', null, `Invalid URL (${route})`);
}

async function answer(
  context: Context,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { bytes, body } = await readBody(request);
  const record = context.log.add(path, request.headers, body);
  const parsed = responsesRequestSchema.safeParse(body);
  if (!parsed.success) return refuse(context, record, response, z.prettifyError(parsed.error));
  if (!parsed.data.stream) return refuse(context, record, response, 'only "stream": true is supported');
  const conversation = readConversation(parsed.data, request.headers);
  record.threadKey = conversation.threadKey;
  record.turnId = conversation.turnId;
  record.requestKind = conversation.requestKind;

  let choice: Choice;
  try {
    choice = context.player.choose(conversation);
  } catch (error) {
    if (error instanceof UnknownScenarioError) return refuse(context, record, response, error.message);
    throw error;
  }
  record.scenario = choice.scenario;
  record.step = choice.step;
  record.repetition = choice.repetition;
  const missing = missingText(choice, conversation);
  if (missing !== undefined) {
    const where = `scenario "${choice.scenario}", step ${choice.step}`;
    return refuse(context, record, response, `${where} expects "${missing}" in the request`);
  }
  await play(context, { record, choice, conversation, model: parsed.data.model, bytes }, response);
}

interface Answerable {
  readonly record: RecordedRequest;
  readonly choice: Choice;
  readonly conversation: Conversation;
  readonly model: string;
  readonly bytes: number;
}

async function play(context: Context, answerable: Answerable, response: ServerResponse): Promise<void> {
  const { record, choice, conversation } = answerable;
  const due = choice.failure && !isOver(choice.failure, context.holds) ? choice.failure : null;
  const failure = due ? planFailure(due) : null;
  record.failure = due?.kind ?? null;
  if (failure?.on === 'connection') {
    response.destroy();
    context.log.end(record, 'cut', null);
    return;
  }
  if (failure?.on === 'http') {
    sendJson(response, failure.status, failure.body, failure.headers);
    context.log.end(record, 'failed', failure.status);
    return;
  }
  const clientGone = new AbortController();
  response.once('close', () => clientGone.abort(new Error('the client went away')));
  const signal = AbortSignal.any([clientGone.signal, context.closing.signal]);
  try {
    const answerEvents = buildAnswer(choice, answerable.model, answerable.bytes);
    const playback = { answer: answerEvents, step: choice.content, failure, holds: context.holds };
    const end = await playAnswer(response, { ...playback, threadKey: conversation.threadKey }, signal);
    context.log.end(record, end, 200);
  } catch (error) {
    response.destroy();
    context.log.end(record, signal.aborted ? 'clientGone' : 'cut', 200);
    if (!signal.aborted) throw error;
  }
}

function isOver(failure: Failure, holds: Holds): boolean {
  return failure.untilReleased !== undefined && holds.isReleased(failure.untilReleased);
}

function refuse(context: Context, record: RecordedRequest, response: ServerResponse, message: string): void {
  sendError(response, 400, 'invalid_request_error', 'scripted_model', `Scripted model: ${message}`);
  context.log.end(record, 'refused', 400);
}

function missingText(choice: Choice, conversation: Conversation): string | undefined {
  const texts = conversation.entries.flatMap((entry) => (entry.kind === 'model' ? [] : [entry.text]));
  return choice.content.expectText.find((expected) => !texts.some((text) => text.includes(expected)));
}
