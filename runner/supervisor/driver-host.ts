import type { ProducedEvent } from '../../contract/events.js';
import { driverKind } from '../drivers/create-driver.js';
import type { AgentDriver, DriverContext, DriverListener, TurnEnd } from '../drivers/driver.js';

/**
 * The runner's one driver, kept from turn to turn (warm) and made anew when its process has died. What it says goes to
 * the run that is being served; between turns it is counted and dropped, since no run's log is open for it.
 */
export class DriverHost {
  readonly #backendProfile: string;
  readonly #context: Omit<DriverContext, 'listener'>;
  #target: DriverListener | undefined;
  #driver: AgentDriver | undefined;
  #starting: Promise<AgentDriver> | undefined;
  #dropped = 0;

  constructor(backendProfile: string, context: Omit<DriverContext, 'listener'>) {
    this.#backendProfile = backendProfile;
    this.#context = context;
  }

  /** The current driver, whether or not it is up. */
  get driver(): AgentDriver {
    this.#driver ??= this.#create();
    return this.#driver;
  }

  /** The driver, started. Concurrent calls share one start; a failed start is tried anew by the next call. */
  ready(): Promise<AgentDriver> {
    if (this.#driver?.alive === true && this.#starting === undefined) return Promise.resolve(this.#driver);
    this.#starting ??= this.#start().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  listen(target: DriverListener): void {
    this.#target = target;
  }

  unlisten(): void {
    this.#target = undefined;
    if (this.#dropped > 0)
      this.#context.log.info({ dropped: this.#dropped }, 'the agent spoke between turns');
    this.#dropped = 0;
  }

  /** An event that comes from beside the driver, such as usage seen by the proxy. */
  emit(event: ProducedEvent): void {
    if (this.#target === undefined) this.#dropped += 1;
    else this.#target.onEvent(event);
  }

  async close(): Promise<void> {
    await this.#driver?.close();
  }

  async #start(): Promise<AgentDriver> {
    const driver = this.#create();
    this.#driver = driver;
    await driver.start();
    return driver;
  }

  #create(): AgentDriver {
    return driverKind(this.#backendProfile).create({
      ...this.#context,
      listener: {
        onEvent: (event) => this.emit(event),
        onActivity: () => this.#target?.onActivity(),
        onText: (piece) => this.#target?.onText?.(piece),
        onRequest: (request) => this.#target?.onRequest(request),
        onRequestClosed: (requestId) => this.#target?.onRequestClosed(requestId),
        onTurnEnd: (end: TurnEnd) => this.#target?.onTurnEnd(end),
      },
    });
  }
}
