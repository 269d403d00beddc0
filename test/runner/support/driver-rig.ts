import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type AgentRequest, agentRequestSchema } from '../../../contract/agent-requests.js';
import { type ProducedEvent, producedEventSchema } from '../../../contract/events.js';
import { packageRoot } from '../../../infra/config/package-root.js';
import { driverKind } from '../../../runner/drivers/create-driver.js';
import type { AgentDriver, TurnEnd } from '../../../runner/drivers/driver.js';
import { ProviderProxy } from '../../../runner/proxy/provider-proxy.js';
import type { ProxyTimings } from '../../../runner/proxy/proxied-exchange.js';
import { AgentHostConnection } from '../../../runner/supervisor/agent-host-connection.js';
import type { ScenarioInput } from '../../../tools/scripted-model/scenario.js';
import { createScriptedModelServer, type ScriptedModelServer } from '../../../tools/scripted-model/server.js';
import { requirePrograms } from './runner-processes.js';

const log = { info: () => undefined, warn: () => undefined };

/** A driver with all that it needs, real: agent-host, provider proxy, scripted model. What it tells is kept. */
export class DriverRig {
  readonly events: ProducedEvent[] = [];
  readonly ends: TurnEnd[] = [];
  readonly requests: AgentRequest[] = [];
  readonly closedRequests: string[] = [];
  notifications = 0;
  readonly #drivers: AgentDriver[] = [];

  private constructor(
    readonly kind: string,
    readonly directory: string,
    readonly model: ScriptedModelServer,
    readonly proxy: ProviderProxy,
    private readonly agentHost: ChildProcess,
    private readonly connection: AgentHostConnection,
  ) {}

  static async open(
    kind: string,
    options: {
      readonly scenarios?: readonly ScenarioInput[];
      /** In place of the scripted model. */
      readonly upstreamUrl?: string;
      readonly timings?: ProxyTimings;
    } = {},
  ): Promise<DriverRig> {
    requirePrograms();
    const directory = mkdtempSync(join(tmpdir(), 'agentrun-driver-'));
    for (const folder of ['workspace', 'home']) mkdirSync(join(directory, folder));
    const socket = join(directory, 'agent-host.sock');
    const agentHost = spawn(
      process.execPath,
      [join(packageRoot(), 'dist', 'runner', 'agent-host', 'main.js')],
      {
        stdio: 'ignore',
        env: { PATH: process.env.PATH ?? '', AGENTRUN_AGENT_HOST_SOCKET: socket },
      },
    );
    const model = await createScriptedModelServer({ scenarios: options.scenarios ?? [] });
    const proxy = new ProviderProxy({
      upstreamBaseUrl: options.upstreamUrl ?? `${model.url}/v1`,
      key: 'sk-x',
      ...(options.timings === undefined ? {} : { timings: options.timings }),
      onObservation: () => undefined,
      onProgress: () => undefined,
      log,
    });
    await proxy.listen();
    proxy.openTurn();
    const connection = await AgentHostConnection.open(socket, 15_000, log);
    return new DriverRig(kind, directory, model, proxy, agentHost, connection);
  }

  /** A started driver; another one stands for the next attempt on the same session. */
  async driver(): Promise<AgentDriver> {
    const driver = driverKind(this.kind).create({
      processes: this.connection,
      log,
      workspaceDirectory: join(this.directory, 'workspace'),
      agentHomeDirectory: join(this.directory, 'home'),
      provider: {
        baseUrl: this.proxy.baseUrl,
        placeholderKey: this.proxy.placeholderKey,
        model: 'gpt-5-codex',
      },
      lastObservation: () => this.proxy.lastObservation,
      listener: {
        onEvent: (event) => this.events.push(producedEventSchema.parse(event)),
        onActivity: () => {
          this.notifications += 1;
        },
        onRequest: (request) => this.requests.push(agentRequestSchema.parse(request)),
        onRequestClosed: (requestId) => this.closedRequests.push(requestId),
        onTurnEnd: (end) => this.ends.push(end),
      },
    });
    this.#drivers.push(driver);
    await driver.start();
    return driver;
  }

  async close(): Promise<void> {
    for (const driver of this.#drivers) await driver.close();
    const gone = new Promise((resolve) => this.agentHost.once('exit', resolve));
    this.connection.close();
    await gone;
    await this.proxy.close();
    await this.model.close();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Waits until so many turns have ended; answers the last end. */
  async turnEnd(count = 1): Promise<TurnEnd | undefined> {
    await expect.poll(() => this.ends.length, { timeout: 20_000 }).toBe(count);
    return this.ends.at(-1);
  }

  /** Waits for an event. */
  async event(
    type: ProducedEvent['type'],
    fits: (payload: ProducedEvent['payload']) => boolean = () => true,
  ) {
    const found = () => this.events.find((event) => event.type === type && fits(event.payload));
    await expect.poll(found, { timeout: 20_000 }).toBeDefined();
    return found();
  }

  /** Waits for the `count`-th request of the agent. */
  async request(count = 1): Promise<AgentRequest> {
    await expect.poll(() => this.requests.length, { timeout: 20_000 }).toBe(count);
    const request = this.requests.at(-1);
    if (request === undefined) throw new Error('no request');
    return request;
  }

  /** The user messages of the last request to the model, as one text. */
  lastInput(): string {
    return JSON.stringify(this.model.requests().at(-1)?.body ?? null);
  }
}
