import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ApiError, errorLine, pause } from '../../client/index.js';
import type { Assignment, LaunchSpec } from '../../contract/runners.js';
import type { Logger } from '../../infra/telemetry/logger.js';
import type { Redactor } from '../../infra/telemetry/redaction.js';
import { driverKind, runnerVersion } from '../drivers/create-driver.js';
import { ProviderProxy } from '../proxy/provider-proxy.js';
import type { ProxyObservation } from '../proxy/proxy-observation.js';
import { AgentHostConnection } from './agent-host-connection.js';
import { isFinalRefusal } from './api-refusals.js';
import { DriverHost } from './driver-host.js';
import type { Missing } from './health-server.js';
import { waitForNextRun } from './idle-wait.js';
import { ManagerApi } from './manager-api.js';
import { type PreflightFinding, registerWithPreflight } from './preflight.js';
import { proxyUsageEvent } from './proxy-usage-event.js';
import { ServedRun } from './served-run.js';

/** Exit codes of a supervisor. */
export const exitCodes = {
  /** Closed in order. */
  closed: 0,
  /** agent-host was lost, or something unforeseen. */
  failed: 1,
  /** Wrong configuration (decisions.md, `prerequisite-failed`). */
  misconfigured: 2,
  /** The API refused register or claim: another attempt or another runner has the run. */
  claimRefused: 3,
  /** The attempt was taken away, or the supervisor fenced itself. */
  fenced: 4,
  /** The API does not take the launch token: as little use in trying again as with a wrong configuration. */
  tokenRefused: 5,
} as const;

/** How a supervisor ended. `prerequisite` says what has to be corrected before another runner can begin. */
export interface SupervisorEnd {
  readonly exitCode: number;
  readonly prerequisite?: string;
}

type Claimed =
  | { readonly assignment: Assignment }
  | { readonly finding: PreflightFinding }
  | { readonly error: unknown };

/** Claims its run, serves it, and then the following runs of the session, until it is closed (architecture.md 5 and 7). */
export class Supervisor {
  readonly #spec: LaunchSpec;
  readonly #log: Logger;
  readonly #redactor: Redactor;
  readonly #runnerId = randomUUID();
  /** Fires when the runner has to go: SIGTERM, or agent-host is gone. */
  readonly #stopping = new AbortController();
  readonly #agentHostTimeoutMs: number;
  /** What is not there yet. */
  readonly #awaited = new Set<Missing>(['agent-host', 'proxy']);
  /** Resolves when the last look at the volume has been told. */
  #storageTold = Promise.resolve();
  #served: ServedRun | undefined;
  #agentHostLost = false;

  constructor(
    spec: LaunchSpec,
    options: { readonly agentHostTimeoutMs: number; readonly log: Logger; readonly redactor: Redactor },
  ) {
    this.#spec = spec;
    this.#agentHostTimeoutMs = options.agentHostTimeoutMs;
    this.#log = options.log;
    this.#redactor = options.redactor;
  }

  /** Runs to the end. Everything that was opened is closed. */
  async run(): Promise<SupervisorEnd> {
    const spec = this.#spec;
    const log = this.#log;
    const key = (await readFile(spec.provider.keyFile, 'utf8')).trim();
    this.#redactor.add(key);
    let drivers: DriverHost | undefined;
    const proxy = new ProviderProxy({
      upstreamBaseUrl: spec.provider.baseUrl,
      key,
      onObservation: (observation) => this.#observed(observation, drivers),
      onProgress: () => this.#served?.onModelOutput(),
      log,
    });
    this.#redactor.add(proxy.placeholderKey);
    const api = new ManagerApi({
      baseUrl: spec.managerUrl,
      launchToken: spec.launchToken,
      traceparent: spec.traceparent,
      redactor: this.#redactor,
      log,
    });
    // The run is claimed while the agent starts: both take about as long.
    const claim = this.#claim(api);
    const [agentHost] = await Promise.all([
      AgentHostConnection.open(spec.agentHostSocket, this.#agentHostTimeoutMs, log),
      proxy.listen().then(() => this.#awaited.delete('proxy')),
    ]);
    this.#awaited.delete('agent-host');
    agentHost.onLost(() => this.#lostAgentHost());
    drivers = new DriverHost(spec.backendProfile, {
      processes: agentHost,
      log,
      workspaceDirectory: spec.workspaceDirectory,
      agentHomeDirectory: spec.agentHomeDirectory,
      provider: { baseUrl: proxy.baseUrl, placeholderKey: proxy.placeholderKey, model: spec.provider.model },
      lastObservation: () => proxy.lastObservation,
    });
    drivers.ready().catch((error: unknown) => log.warn(errorLine(error), 'the agent did not start'));
    try {
      const claimed = await claim;
      if ('finding' in claimed) return this.#prerequisiteFailed(claimed.finding);
      if ('error' in claimed) return { exitCode: this.#claimFailed(claimed.error) };
      const exitCode = await this.#serveAll(claimed.assignment, api, { agentHost, drivers, proxy });
      await Promise.race([this.#storageTold, aborted(this.#stopping.signal)]);
      return { exitCode };
    } finally {
      // Bounded: the driver's own limits; agent-host ends what is left as soon as the connection closes.
      await Promise.race([drivers.close(), pause(1_500)]);
      agentHost.close();
      await Promise.race([proxy.close(), pause(500)]);
    }
  }

  /** SIGTERM: the turn is interrupted and reported, then everything is closed. */
  stop(): void {
    this.#log.info({}, 'stopping');
    this.#stopping.abort();
    this.#served?.stop();
  }

  /** Why no turn can be served now; empty: it can. A runner that is about to leave takes no more. */
  missing(): readonly Missing[] {
    const draining = this.#stopping.signal.aborted && !this.#agentHostLost;
    return [...this.#awaited, ...(draining ? (['draining'] as const) : [])];
  }

  /** Never rejects, because it runs beside other things that may fail first. */
  async #claim(api: ManagerApi): Promise<Claimed> {
    const spec = this.#spec;
    try {
      const finding = await registerWithPreflight({
        ...spec,
        whoami: () => api.whoami(),
        register: () =>
          api.register({
            runnerId: this.#runnerId,
            jobId: spec.jobId,
            backend: spec.backendProfile,
            version: runnerVersion,
            capabilities: driverKind(spec.backendProfile).capabilities,
          }),
        signal: this.#stopping.signal,
        log: this.#log,
      });
      if (finding !== undefined) return { finding };
      return { assignment: await api.claim(spec.runId, { runnerId: this.#runnerId, leaseMs: spec.leaseMs }) };
    } catch (error) {
      return { error };
    }
  }

  #prerequisiteFailed({ kind, message }: PreflightFinding): SupervisorEnd {
    this.#log.error({ finding: kind, managerUrlVariable: this.#spec.managerUrlVariable }, message);
    const exitCode = kind === 'wrong-url' ? exitCodes.misconfigured : exitCodes.tokenRefused;
    return { exitCode, prerequisite: message };
  }

  #claimFailed(error: unknown): number {
    const refused = isFinalRefusal(error) || (error instanceof ApiError && error.status === 401);
    this.#log.error({ ...errorLine(error), refused }, 'the run was not claimed');
    return refused ? exitCodes.claimRefused : exitCodes.failed;
  }

  async #serveAll(
    first: Assignment,
    api: ManagerApi,
    parts: { agentHost: AgentHostConnection; drivers: DriverHost; proxy: ProviderProxy },
  ): Promise<number> {
    const spec = this.#spec;
    let assignment = first;
    for (;;) {
      const result = await this.#serve(assignment, api, parts);
      if (result === 'fenced' || (result === 'not-reported' && !this.#stopping.signal.aborted))
        return exitCodes.fenced;
      if (this.#agentHostLost || result === 'not-reported') return exitCodes.failed;
      if (result !== 'idle' || this.#stopping.signal.aborted) return exitCodes.closed;
      const next = await waitForNextRun({
        api,
        runnerId: this.#runnerId,
        leaseMs: spec.leaseMs,
        signal: this.#stopping.signal,
        log: this.#log,
      });
      if ('close' in next) {
        this.#log.info({ reason: next.close }, 'closing');
        return this.#agentHostLost ? exitCodes.failed : exitCodes.closed;
      }
      assignment = next.assignment;
    }
  }

  async #serve(
    assignment: Assignment,
    api: ManagerApi,
    parts: { agentHost: AgentHostConnection; drivers: DriverHost; proxy: ProviderProxy },
  ): ReturnType<ServedRun['serve']> {
    this.#log.info({ runId: assignment.run.id, epoch: assignment.epoch }, 'serving');
    const served = new ServedRun({
      ...parts,
      api,
      assignment,
      runnerId: this.#runnerId,
      workspaceDirectory: this.#spec.workspaceDirectory,
      supervisorDirectory: this.#spec.supervisorDirectory,
      redactor: this.#redactor,
      log: this.#log,
    });
    this.#served = served;
    if (this.#stopping.signal.aborted) served.stop();
    try {
      const result = await served.serve();
      const { measuredDirectory } = this.#spec;
      // Beside the wait for the next run: nobody waits for the look.
      if (measuredDirectory !== null && (result === 'idle' || result === 'closing'))
        this.#storageTold = this.#storageTold.then(() => served.tellStorage(measuredDirectory));
      return result;
    } finally {
      this.#served = undefined;
    }
  }

  #observed(observation: ProxyObservation, drivers: DriverHost | undefined): void {
    drivers?.emit(proxyUsageEvent(observation));
  }

  #lostAgentHost(): void {
    this.#agentHostLost = true;
    this.#awaited.add('agent-host');
    this.#log.error({}, 'agent-host is gone');
    this.#served?.onEvent({
      type: 'backend_status',
      payload: {
        phase: 'transport-lost',
        message: 'the connection to the process that holds the agent is lost',
      },
    });
    // A turn ends by the exit of its process, which the connection reports; an idle wait ends here.
    this.#stopping.abort();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
